"""Files go into the store whole or not at all, come back as they were, and stay under its root."""

import hashlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contracts.errors import InfraError, JobError
from workers.storage import FolderStorage, Storage, checked_key, open_storage

KEY = "teams/tem_a/uploads/upl_b"


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    where = str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3_bucket")
    return open_storage(where)


def test_what_was_put_comes_back(storage: Storage, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "in").write_bytes(data)
    storage.put_file(tmp_path / "in", KEY)
    storage.get_file(KEY, tmp_path / "deep" / "out", sha256=hashlib.sha256(data).hexdigest())
    assert (tmp_path / "deep" / "out").read_bytes() == data
    assert storage.read_bytes(KEY) == data
    assert storage.size(KEY) == len(data)


def test_a_second_put_replaces_the_first(storage: Storage) -> None:
    storage.put_bytes(b"one", KEY)
    storage.put_bytes(b"second", KEY)
    assert storage.read_bytes(KEY) == b"second"


def test_open_gives_a_seekable_stream(storage: Storage) -> None:
    storage.put_bytes(b"0123456789", KEY)
    with storage.open(KEY) as stream:
        stream.seek(-3, io.SEEK_END)
        assert stream.read() == b"789"


def test_a_file_with_another_hash_is_refused_and_not_left_behind(storage: Storage, tmp_path: Path) -> None:
    storage.put_bytes(b"tampered", KEY)
    with pytest.raises(JobError) as caught:
        storage.get_file(KEY, tmp_path / "out" / "file", sha256="0" * 64)
    assert caught.value.code == "input_corrupt"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_file_is_named_as_missing(storage: Storage, tmp_path: Path) -> None:
    assert not storage.exists(KEY)
    for attempt in (
        lambda: storage.read_bytes(KEY),
        lambda: storage.size(KEY),
        lambda: storage.get_file(KEY, tmp_path / "out"),
    ):
        with pytest.raises(JobError) as caught:
            attempt()
        assert caught.value.code == "artifact_missing"


def test_delete_removes_and_may_be_repeated(storage: Storage) -> None:
    storage.put_bytes(b"x", KEY)
    storage.delete(KEY)
    storage.delete(KEY)
    assert not storage.exists(KEY)


def test_list_gives_the_keys_below_a_folder(storage: Storage) -> None:
    for key in ("jobs/a/attempts/1/result.json", "jobs/a/spec.json", "jobs/ab/spec.json"):
        storage.put_bytes(b"{}", key)
    assert storage.list("jobs/a") == ["jobs/a/attempts/1/result.json", "jobs/a/spec.json"]
    assert storage.list("jobs/none") == []


_NO_KEYS = """
/etc/passwd ../x a/../b a//b a/./b a/ .put-x a/.put-x a\\b s3://b/k file:///etc/passwd ü %2e%2e/x
"""


@pytest.mark.parametrize("key", [*_NO_KEYS.split(), "", "a b", "a\0b", "a\n", "x" * 401])
def test_a_key_that_is_no_plain_relative_path_is_refused(tmp_path: Path, key: str) -> None:
    storage = FolderStorage(tmp_path / "store")
    for attempt in (
        lambda: storage.put_bytes(b"", key),
        lambda: storage.read_bytes(key),
        lambda: storage.exists(key),
        lambda: storage.delete(key),
        lambda: storage.list(key),
    ):
        with pytest.raises(ValueError, match="not a storage key"):
            attempt()


@given(st.text(max_size=60))
def test_whatever_passes_as_a_key_stays_under_the_root_in_its_normal_form(text: str) -> None:
    try:
        checked_key(text)
    except ValueError:
        return
    assert os.path.normpath(text) == text
    assert os.path.normpath(os.path.join("/root", text)).startswith("/root/")


def test_a_put_that_fails_half_way_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "store")
    storage.put_bytes(b"old", KEY)
    # /proc/self/mem fails with EIO at its first page.
    with pytest.raises(InfraError) as caught:
        storage.put_file("/proc/self/mem", KEY)
    assert caught.value.code == "storage_unavailable"
    assert storage.read_bytes(KEY) == b"old"
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == ["upl_b"]


def test_a_folder_store_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "store")
    storage.put_bytes(b"x", KEY)
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "store" / KEY).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "url",
    [
        "http://host/x",
        "file:///etc",
        "s3://",
        "simplecache::s3://b/p",
        "zip://x::file://y",
        "s3://u@b/p",
        "s3://b/../x",
    ],
)
def test_only_a_folder_or_a_bucket_can_be_a_store(url: str) -> None:
    with pytest.raises(ValueError):
        open_storage(url)


def test_a_bucket_that_does_not_answer_is_unavailable(s3_away: str) -> None:
    with pytest.raises(InfraError) as caught:
        open_storage(s3_away).put_bytes(b"x", KEY)
    assert caught.value.code == "storage_unavailable"
