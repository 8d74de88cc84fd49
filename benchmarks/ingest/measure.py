"""Import a file as a worker does and tell how long it took and how much memory at its peak.

python benchmarks/ingest/measure.py FILE KIND [MAPPING as JSON]
"""

import compileall
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from workers.contracts.job import IngestSpec, JobSpec  # noqa: E402
from workers.contracts.jobdir import JobDir  # noqa: E402


def measure(source: Path, kind: str, mapping: dict[str, str]) -> dict[str, Any]:
    """Run `python -m workers.ingest` on a link to the file; facts of the result, seconds, peak resident MB.

    Near-duplicates are not looked for. Modules are compiled beforehand, as the runner does when it starts.
    """
    compileall.compile_dir(ROOT / "workers", quiet=2)
    with tempfile.TemporaryDirectory() as folder:
        ingest = IngestSpec.model_validate(
            {"kind": kind, "filename": source.name, "mapping": mapping, "limits": {"max_compared": 0}}
        )
        spec = JobSpec(
            job="job", attempt=1, team="team", kind="ingest", inputs=[], output_prefix="jobs/job", ingest=ingest
        )
        job_dir = JobDir.create(Path(folder) / "job", spec)
        (job_dir.inputs / "source").symlink_to(source.resolve())
        # As an installation compiles packages, so those that the peer is made of.
        compileall.compile_dir(ROOT / "workers", quiet=1)
        start = time.monotonic()
        child = subprocess.Popen([sys.executable, "-m", "workers.ingest", str(job_dir.root)], cwd=ROOT)
        _, status, usage = os.wait4(child.pid, 0)
        facts: dict[str, Any] = {
            "file": source.name,
            "MB": round(source.stat().st_size / 1e6, 1),
            "exit": os.waitstatus_to_exitcode(status),
            "seconds": round(time.monotonic() - start, 2),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_rss_MB": usage.ru_maxrss // 1024,
        }
        if job_dir.result_path.exists():
            result = json.loads(job_dir.result_path.read_text())
            facts |= {name: result[name] for name in ("rows", "rejected", "splits", "mapping")}
            facts["issues"] = {issue["code"]: issue["count"] for issue in result["issues"]}
            facts["data_MB"] = round(result["files"]["data.parquet"]["bytes"] / 1e6, 1)
        else:
            facts["last_event"] = job_dir.events_path.read_text().splitlines()[-1]
    return facts


if __name__ == "__main__":
    chosen = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], chosen), ensure_ascii=False))
