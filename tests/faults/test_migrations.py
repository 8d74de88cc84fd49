"""`migrate` is killed in the middle: the next start goes on. Postgres undoes whatever was in a transaction."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from tests.faults.web import database_url, environment
from tests.serving.running import until
from tests.stack import ROOT

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def without_the_index() -> Iterator[None]:
    """The database as it was before the migration that is not atomic; afterwards as it is."""
    call_command("migrate", "usage", "0006", verbosity=0)
    yield
    call_command("migrate", verbosity=0)


@contextlib.contextmanager
def migrating(home: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`manage.py migrate` while the block runs, on the tests' database; killed at its end."""
    environ = {**environment(database_url(), "redis://127.0.0.1:1/0", home), "SLIPWAY_EMBEDDED_DATABASE": "1"}
    environ["SLIPWAY_STATEMENT_TIMEOUT"] = "0"
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "migrate"], cwd=ROOT, env=environ, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def validity() -> list[bool]:
    """Of the index, if it is there at all."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relname = 'ledger_by_revision'"
        )
        return [valid for (valid,) in cursor.fetchall()]


def test_an_index_that_was_left_half_made_is_made_anew(without_the_index: None, tmp_path: Path) -> None:
    with psycopg.connect(database_url()) as busy:
        busy.execute("DELETE FROM usage_ledgerentry")  # somebody writes: the index has to wait for them
        with migrating(tmp_path) as process:
            until(lambda: process.poll() is not None or validity() == [False], 60)
            assert process.poll() is None, (tmp_path / "log").read_text()
        busy.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'")
        busy.commit()
    assert validity() == [False]
    call_command("migrate", verbosity=0)
    assert validity() == [True]
