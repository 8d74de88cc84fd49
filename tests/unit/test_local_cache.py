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
    assert cache.find("one") is None
    threads = [threading.Thread(target=cache.file, args=("one", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["made"]
    assert cache.file("one", make) == cache.find("one")
    assert cache.file("one", make).read_bytes() == b"index"


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise ValueError

    cache = LocalCache(tmp_path, 1 << 20)
    with pytest.raises(ValueError):
        cache.file("one", fail)
    assert cache.find("one") is None
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("lock-")] == []


def test_the_least_recently_used_go_when_the_bound_is_reached(tmp_path: Path) -> None:
    cache, now = LocalCache(tmp_path, 1000), time.time() - 7200
    for number in range(30):
        path = cache.file(f"{number}", lambda path: path.write_bytes(bytes(100)) and None)
        # As if a minute lay between one and the next; the first is looked at all the time.
        os.utime(path, (now + 60 * number,) * 2)
        first = cache.find("0")
        assert first, "it was just used"
        os.utime(first, (now + 60 * number + 1,) * 2)
    kept = [number for number in range(30) if cache.find(f"{number}")]
    assert 0 in kept and 29 in kept
    assert len(kept) <= 10
    os.utime(first, (now - 31 * 86_400,) * 2)
    cache.file("one more", lambda path: path.write_bytes(bytes(100)) and None)
    assert cache.find("0") is None, "nobody looked at it for a month"
