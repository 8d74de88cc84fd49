"""Files that can be made again: made once, kept within a bound."""

import os
import threading
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
    cache = LocalCache(tmp_path, 1000)
    for number in range(30):
        path = cache.file(f"{number}", lambda path: path.write_bytes(bytes(100)) and None)
        os.utime(path, (number, number))
        if number > 4:
            first = cache.find("0")
            assert first, "it was just used"
            os.utime(first, (number + 0.5, number + 0.5))
    kept = [number for number in range(30) if cache.find(f"{number}")]
    assert 0 in kept and 29 in kept
    assert len(kept) <= 10
