"""How much memory this process has, and how much models take of it."""

import ctypes
import os
import re
from pathlib import Path
from typing import Final

# Of the machine's memory, or of the container's if that is less: the rest is for bodies, other processes, the system.
DEFAULT_SHARE: Final = 0.5
_CGROUP: Final = Path("/sys/fs/cgroup/memory.max")
_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE: Final = re.compile(r"([0-9]{1,18})\s*(?:([kmgt]?)(?:i?b)?)\Z")


def parse_size(text: str) -> int | None:
    """Bytes from "1073741824", "512MiB" or "2g", in powers of 1024; None where it is no size above 0."""
    match = _SIZE.match(text.strip().lower())
    return (int(match[1]) * _UNITS[match[2]] or None) if match else None


def show_size(count: int) -> str:
    """Bytes in words: "1.5 GiB"."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def default_budget() -> int:
    """What the models of a process may take together where nobody says: DEFAULT_SHARE of what there is."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP.read_text().strip()
    except OSError:
        limit = "max"
    return int(DEFAULT_SHARE * (min(total, int(limit)) if limit.isdigit() else total))


def resident() -> int:
    """Bytes of this process in memory, after free memory has gone back to the system; 0 where that cannot be read."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError):
        return 0
