"""One scene for a whole module: every visit is undone, so nobody sees what another did."""

from collections.abc import Iterator

import pytest
from django.db import transaction
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from tests.access.scene import Scene, make_scene
from tests.cast import make_cast


@pytest.fixture(scope="module")
def scene(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Made inside a transaction that is rolled back when the module is over."""
    home = tmp_path_factory.mktemp("walk")
    moved = override_settings(SLIPWAY_HOME=home, SLIPWAY_STORAGE=str(home / "storage"))
    with moved, django_db_blocker.unblock(), transaction.atomic():
        yield make_scene(make_cast())
        transaction.set_rollback(True)
