"""Bundles with known answers, made once."""

from pathlib import Path

import pytest

from tests.serving import bundles


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle for each kind that needs no training."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        "text": bundles.text_bundle(folder / "text.zip"),
        "image": bundles.image_bundle(folder / "image.zip"),
        "recommendation": bundles.ranking_bundle(folder / "ranking.zip"),
    }
