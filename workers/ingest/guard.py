"""Bounds that a process puts on itself before it touches a user's bytes. Standard library only: it runs first."""

import ctypes
import os
import resource

# What one import may map. A 300-byte Parquet file can ask for 4 GB; this is where it is refused.
INGEST_BYTES = 4 * 2**30
PREVIEW_BYTES = 2**30
# Of malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX.
_MALLOPT = {-1: 2**26, -2: 2**24, -3: 2**24, -8: 2}


def bound_memory(limit: int) -> None:
    """Let allocations beyond `limit` bytes of address space fail, which Python turns into MemoryError."""
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        _, hard = resource.getrlimit(kind)
        ceiling = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (ceiling, ceiling))


def bound_preview(cpu_seconds: int) -> None:
    """For a process that only reads: little memory, little time, no file may grow."""
    bound_memory(PREVIEW_BYTES)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def quiet_libraries() -> None:
    """Keep libraries from reserving address space for threads and pools; to be called before their import."""
    # An import's steps are threads themselves: to share out what each does with a block costs more than it brings.
    os.environ["POLARS_MAX_THREADS"] = "1"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("ARROW_NUM_THREADS", "1")


def reuse_memory() -> None:
    """Let glibc keep what large arrays leave for the next ones; zeroed pages from the kernel cost more than the work.

    Each thread's arena would map 64 MiB of the bounded address space, so there are two of them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for option, value in _MALLOPT.items():
            mallopt(option, value)


def give_back_memory() -> None:
    """Hand to the kernel what `reuse_memory` has kept, where work of another kind begins."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
