"""The real data sets, found beside the project or where SLIPWAY_TEST_DATA says."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("SLIPWAY_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def real(name: str) -> Path:
    """A real file; the test is skipped with a reason where it is absent, except in CI."""
    path = FOLDER / name
    if not path.exists():
        message = f"{name} is not in {FOLDER}: set SLIPWAY_TEST_DATA"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path
