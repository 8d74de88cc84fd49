"""Nothing that is written can be changed by other users of the machine, whatever the umask says."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from apps.core.artifacts import storage
from apps.core.local_cache import LocalCache
from apps.datasets.uploads import begin_upload
from slipway.supervisor import line_writer
from tests.cast import Cast
from workers.contracts import names
from workers.contracts.snapshot import Snapshot
from workers.runner.folders import job_folder
from workers.serving.snapshot import Kept
from workers.serving.spool import Spool


@pytest.fixture
def careless() -> Iterator[None]:
    """A shell whose umask lets everybody in."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.django_db
def test_a_careless_umask_opens_nothing(cast: Cast, settings: Settings, tmp_path: Path, careless: None) -> None:
    home = tmp_path / "home"
    home.mkdir()
    settings.SLIPWAY_HOME, settings.SLIPWAY_STORAGE = home, str(home / "storage")
    upload = begin_upload(actor=cast.bob, team=cast.ours.team, filename="a.csv", size=3)
    storage().put_bytes(b"a,b", upload.key)
    LocalCache(home / "cache", 10**6).file(upload.key, "index", lambda path: path.write_bytes(b"index") and None)
    line_writer(home / "logs")("web", "started", True)
    Kept(home / "serving" / "snapshot.json").save(Snapshot(version=1, published=0, routes=[], keys={}))
    spool = Spool(home / "spool", "srv-1", max_bytes=1000, fsync="never")
    spool.write([(names.STREAM_USAGE, b"{}")])
    with job_folder(home, "job_" + "a" * 24, 1) as folder:
        (folder / "file").touch()
        written = list(home.rglob("*"))
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in written}
    spool.close()
    assert {path.parent.name for path in written} >= {"uploads", "logs", "serving", "spool", "cache", "work"}
    open_to_all = {path for path, mode in modes.items() if mode & 0o002}
    shut = {path for path, mode in modes.items() if path.is_dir() and not mode & 0o007} | {folder, folder.parent}
    assert [path for path in open_to_all if not shut & set(path.parents)] == []
