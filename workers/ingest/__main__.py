"""python -m workers.ingest JOBDIR: import one file (see workers.forked)."""

import gc
import sys

from workers import forked
from workers.contracts.jobdir import JobDir
from workers.ingest import guard


def work(job_dir: JobDir) -> None:
    """The import itself, in the forked process."""
    guard.quiet_libraries()
    guard.reuse_memory()
    guard.bound_memory(guard.INGEST_BYTES)
    # Of what is imported nothing is garbage, now or later: looking for it would take a seventh of the time.
    gc.disable()
    # Steps that wait for the interpreter hold only short pieces of Python up: five milliseconds are half a block.
    sys.setswitchinterval(0.0005)
    from workers.ingest.run import run

    gc.freeze()
    gc.enable()
    job_dir.write_result(run(job_dir).model_dump())


def main(arguments: list[str]) -> int:
    """Run one import in the folder that the one argument names."""
    return forked.main(arguments, work, what="import")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
