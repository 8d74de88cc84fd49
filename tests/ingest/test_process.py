"""`python -m workers.ingest JOBDIR` as the runner starts it: result or card, exit status, memory bound."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.ingest.importing import as_csv, job, reviews
from workers.contracts.events import EVENT, FROM_CHILD
from workers.contracts.jobdir import JobDir
from workers.contracts.manifest import IngestResult

ROOT = Path(__file__).resolve().parents[2]


def start(job_dir: JobDir, code: str = "") -> subprocess.Popen[bytes]:
    arguments = ["-c", code, str(job_dir.root)] if code else ["-m", "workers.ingest", str(job_dir.root)]
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)


def finish(child: subprocess.Popen[bytes]) -> int:
    child.communicate(timeout=120)
    return child.returncode


def events(job_dir: JobDir) -> list[dict[str, Any]]:
    lines = job_dir.events_path.read_bytes().splitlines()
    for line in lines:
        assert EVENT.validate_json(line).type in FROM_CHILD
    return [json.loads(line) for line in lines]


def test_a_good_file_gives_a_result_whose_files_are_hashed(tmp_path: Path) -> None:
    job_dir = job(tmp_path, as_csv([*reviews(), ("", "good")]).encode())
    assert finish(start(job_dir)) == 0
    result = IngestResult.model_validate_json(job_dir.result_path.read_bytes())
    assert (result.rows, result.rejected) == (40, 1)
    assert set(result.files) == {"data.parquet", "errors.csv"}
    assert result.files["data.parquet"]["bytes"] == (job_dir.output / "data.parquet").stat().st_size
    fractions = [event["fraction"] for event in events(job_dir)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_running_the_same_job_again_gives_the_same_result(tmp_path: Path) -> None:
    job_dir = job(tmp_path, as_csv(reviews()).encode())
    assert finish(start(job_dir)) == 0
    first = job_dir.result_path.read_bytes()
    assert finish(start(job_dir)) == 0
    assert job_dir.result_path.read_bytes() == first


def test_a_bad_file_ends_with_a_card_and_status_1(tmp_path: Path) -> None:
    job_dir = job(tmp_path, b"")
    assert finish(start(job_dir)) == 1
    assert not job_dir.result_path.exists()
    last = events(job_dir)[-1]
    assert last["type"] == "failed"
    assert last["error"]["code"] == "file_empty"


def test_where_no_row_could_be_used_the_rejected_ones_are_told(tmp_path: Path) -> None:
    job_dir = job(tmp_path, b"text,label\n,good\na,b,c\n")
    assert finish(start(job_dir)) == 1
    assert events(job_dir)[-1]["error"]["code"] == "no_rows"
    result = IngestResult.model_validate_json(job_dir.result_path.read_bytes())
    assert result.error and result.error.code == "no_rows"
    assert (result.rows, result.rejected, set(result.files)) == (0, 2, {"errors.csv"})
    assert {issue["code"] for issue in result.issues} == {"text_missing", "row_malformed"}
    assert len((job_dir.output / "errors.csv").read_text().splitlines()) == 3


def test_an_error_of_ours_tells_the_user_nothing_of_our_insides(tmp_path: Path) -> None:
    job_dir = job(tmp_path, b"x")
    (job_dir.inputs / "source").unlink()
    assert finish(start(job_dir)) == 1
    error = events(job_dir)[-1]["error"]
    assert error["code"] == "job_crashed"
    assert str(tmp_path) not in json.dumps(error)


def test_told_to_stop_it_stops_with_143_and_leaves_no_staging(tmp_path: Path) -> None:
    # Long enough that it cannot be done before the signal.
    job_dir = job(tmp_path, b"")
    with open(job_dir.inputs / "source", "w") as stream:
        stream.write("text,label\n")
        stream.writelines(f"this is text number {n},{n % 2}\n" for n in range(3_000_000))
    child = start(job_dir)
    while not list(job_dir.root.glob(".staging-*/staged.arrow")):
        assert child.poll() is None
        time.sleep(0.01)
    # As the runner does: to the whole group.
    os.killpg(child.pid, signal.SIGTERM)
    assert finish(child) == 143
    assert not list(job_dir.root.glob(".staging-*"))
    assert not job_dir.result_path.exists()


def test_a_file_that_asks_for_more_memory_than_allowed_fails_with_a_card(tmp_path: Path) -> None:
    # 400 KB of Parquet that decode to 4,000 texts of 1 MB in one batch.
    texts = pa.DictionaryArray.from_arrays(
        pa.array([n % 2 for n in range(4000)], pa.int32()), ["a" * 10**6, "b" * 10**6]
    )
    job_dir = job(tmp_path, b"")
    pq.write_table(pa.table({"text": texts, "label": ["a", "b"] * 2000}), job_dir.inputs / "source", compression="zstd")
    assert (job_dir.inputs / "source").stat().st_size < 400_000
    code = (
        "import runpy; from workers.ingest import guard; guard.INGEST_BYTES = 700 * 2**20; "
        "runpy.run_module('workers.ingest', run_name='__main__')"
    )
    assert finish(start(job_dir, code)) == 1
    assert events(job_dir)[-1]["error"]["code"] == "file_unreadable"


def test_a_file_that_crashes_its_reader_still_ends_with_a_card(tmp_path: Path) -> None:
    job_dir = job(tmp_path, as_csv(reviews()).encode())
    crash = (
        "import os, sys; from workers.ingest import __main__ as entry, guard; "
        "guard.bound_memory = lambda limit: os.abort(); sys.exit(entry.main(sys.argv[1:]))"
    )
    assert finish(start(job_dir, crash)) == 1
    error = events(job_dir)[-1]["error"]
    assert (error["code"], error["evidence"]) == ("file_unreadable", "SIGABRT")
    assert not list(job_dir.root.glob(".staging-*"))
