"""A batch prediction that was stopped: what it had done is kept, and nothing is counted twice."""

import io
import os
import shutil
import signal
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.batch.predicting import events, finish, job, output, start
from tests.runner.bench import until
from tests.serving.bundles import png
from workers.contracts.errors import JobError
from workers.contracts.events import Checkpoint, Usage
from workers.contracts.jobdir import JobDir

TEXTS = ["good film", "bad film", "", "film"]


def lines(count: int) -> bytes:
    return b"id,text\n" + b"".join(b"%d,%s\n" % (n, TEXTS[n % 4].encode()) for n in range(count))


def objects(count: int) -> bytes:
    return b"".join(b'{"id": %d, "text": "%s"}\n' % (n, TEXTS[n % 4].encode()) for n in range(count))


def table(count: int) -> bytes:
    stream = io.BytesIO()
    rows = {"id": list(range(count)), "text": [TEXTS[n % 4] for n in range(count)]}
    pq.write_table(pa.table(rows), stream, row_group_size=300)
    return stream.getvalue()


def photos(count: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number:04d}.png", png(255, 0) if number % 3 else b"no image")
    return stream.getvalue()


FILES: dict[str, tuple[Any, str, Any, int]] = {
    "rows.csv": ("text", "csv", lines, 1200),
    "rows.jsonl": ("text", "jsonl", objects, 1200),
    "rows.parquet": ("text", "parquet", table, 1200),
    "photos.zip": ("image", "csv", photos, 150),
}


def used(job_dir: JobDir) -> dict[int, int]:
    """Block → items, of all that was said."""
    return {block.number: block.items for event in events(job_dir, Usage) for block in event.blocks}


def read(data: bytes) -> Any:
    return pq.read_table(io.BytesIO(data)).to_pylist() if data[:4] == b"PAR1" else data


@pytest.mark.parametrize("name", list(FILES))
def test_it_goes_on_from_a_checkpoint_to_the_same_file(made: dict[str, Path], tmp_path: Path, name: str) -> None:
    kind, format, write, count = FILES[name]
    options: dict[str, Any] = {"filename": name, "format": format}
    whole = job(tmp_path / "whole", made[kind], write(count), kind, **options)
    result = finish(whole)

    stopped = job(tmp_path / "stopped", made[kind], write(count), kind, **options, requests_left=2)
    with pytest.raises(JobError, match="quota_exceeded"):
        finish(stopped)
    (checkpoint,) = events(stopped, Checkpoint)
    again = job(tmp_path / "again", made[kind], write(count), kind, **options)
    for file in checkpoint.files:
        shutil.copy(stopped.checkpoints / file.name, again.checkpoints / file.name)
    resumed = finish(again)

    assert read(output(again)) == read(output(whole))
    assert (resumed.rows, resumed.failed, resumed.labels) == (result.rows, result.failed, result.labels)
    assert resumed.rows == count and resumed.preview == result.preview
    assert set(used(stopped)) == {0, 1} and not set(used(again)) & {0, 1}
    assert used(stopped) | used(again) == used(whole)
    assert sum(used(whole).values()) == result.rows - result.failed


def test_it_tells_what_it_used_before_the_checkpoint_that_holds_it(made: dict[str, Path], tmp_path: Path) -> None:
    job_dir = job(tmp_path, made["text"], lines(1200), "text", requests_left=3)
    with pytest.raises(JobError):
        finish(job_dir)
    said = [event for event in events(job_dir) if isinstance(event, Usage | Checkpoint)]
    booked = 0
    for event in said:
        if isinstance(event, Usage):
            booked += len(event.blocks)
        else:
            assert event.step == 256 * booked


def test_a_killed_one_leaves_a_checkpoint_and_no_card(made: dict[str, Path], tmp_path: Path) -> None:
    job_dir = job(tmp_path, made["text"], lines(2_000_000), "text")
    child = start(job_dir)
    until(lambda: job_dir.events_path.exists() and events(job_dir, Checkpoint), "a checkpoint", 60)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait(20) == -signal.SIGKILL
    assert not job_dir.result_path.exists() and events(job_dir)[-1].type != "failed"
