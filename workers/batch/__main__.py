"""python -m workers.batch JOBDIR: answer one file (see workers.forked)."""

import sys

from workers import forked
from workers.contracts.jobdir import JobDir
from workers.ingest import guard

# A model in memory, its weights unpacked and what a run of it takes, is so many times its bundle.
_TIMES_BUNDLE = 8


def work(job_dir: JobDir) -> None:
    """The prediction itself, in the forked process."""
    guard.quiet_libraries()
    guard.bound_memory(guard.INGEST_BYTES + _TIMES_BUNDLE * (job_dir.inputs / "bundle.zip").stat().st_size)
    from workers.batch.run import run

    job_dir.write_result(run(job_dir).model_dump())


def main(arguments: list[str]) -> int:
    """Answer one file in the folder that the one argument names."""
    return forked.main(arguments, work, what="batch prediction", resumes=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
