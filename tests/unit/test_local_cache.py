"""Files that can be made again: made once, kept within a bound."""

import os
import threading
import time
from pathlib import Path

import pytest

from apps.core.local_cache import LocalCache


def test_a_file_is_made_once_whoever_asks(tmp_path: Path) -> None:
    made: list[str] = []

    def make(path: Path) -> None:
        made.append("made")
        path.write_bytes(b"index")

    cache = LocalCache(tmp_path, 1 << 20)
    assert cache.find("data", "one") is None
    threads = [threading.Thread(target=cache.file, args=("data", "one", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["made"]
    assert cache.file("data", "one", make) == cache.find("data", "one")
    assert cache.file("data", "one", make).read_bytes() == b"index"


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise ValueError

    cache = LocalCache(tmp_path, 1 << 20)
    with pytest.raises(ValueError):
        cache.file("data", "one", fail)
    assert cache.find("data", "one") is None
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("lock-")] == []


def test_the_least_recently_used_go_when_the_bound_is_reached(tmp_path: Path) -> None:
    cache, now = LocalCache(tmp_path, 1000), time.time() - 7200
    for number in range(30):
        path = cache.file("data", f"{number}", lambda path: path.write_bytes(bytes(100)) and None)
        # As if a minute lay between one and the next; the first is looked at all the time.
        os.utime(path, (now + 60 * number,) * 2)
        first = cache.find("data", "0")
        assert first, "it was just used"
        os.utime(first, (now + 60 * number + 1,) * 2)
    kept = [number for number in range(30) if cache.find("data", f"{number}")]
    assert 0 in kept and 29 in kept
    assert len(kept) <= 10
    os.utime(first, (now - 31 * 86_400,) * 2)
    cache.file("data", "one more", lambda path: path.write_bytes(bytes(100)) and None)
    assert cache.find("data", "0") is None, "nobody looked at it for a month"


def test_what_was_made_from_an_artifact_goes_with_it(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path, 1 << 20)
    for source in ("projects/a/data.parquet", "projects/b/data.parquet"):
        for name in ("index", "image 128 7"):
            cache.file(source, name, lambda path: path.write_bytes(b"customers' words") and None)
    cache.forget("projects/a/data.parquet")
    assert cache.find("projects/a/data.parquet", "index") is None
    assert cache.find("projects/a/data.parquet", "image 128 7") is None
    assert cache.find("projects/b/data.parquet", "index") and cache.find("projects/b/data.parquet", "image 128 7")
    cache.forget("projects/a/data.parquet")
