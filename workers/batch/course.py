"""How far a batch prediction is: parts of the answered file, what has been counted, checkpoints to go on from.

A checkpoint costs little, since a part that is stored is not stored again. They are made the more rarely the longer it
takes, so that a day's parts fit into one checkpoint's list and a kill costs at most a sixth of the work.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl
from pydantic import BaseModel

from workers.batch.rows import Rows
from workers.batch.writers import Writer
from workers.contracts.events import UsageBlock
from workers.contracts.jobdir import JobDir, write_atomic
from workers.contracts.manifest import BatchPreview

_FIRST_S: Final = 1.0
_SHARE: Final = 0.2
_USAGE_S: Final = 0.5
# A checkpoint's event lists at most 64 files, and one is the state.
_MOST_PARTS: Final = 60
# Labels that are counted; more of them are no summary.
_MOST_LABELS: Final = 1000


class State(BaseModel):
    """What a checkpoint says beside its parts: so many rows of the file are done."""

    rows: int = 0
    failed: int = 0
    seconds: float = 0.0
    parts: list[str] = []
    labels: dict[str, int] = {}
    preview: BatchPreview = BatchPreview()


class Course:
    """The output as it grows. Begins at the checkpoint in the job's folder where there is one."""

    def __init__(self, job_dir: JobDir, writer: Writer) -> None:
        self._folder, self._job_dir, self._writer = job_dir.checkpoints, job_dir, writer
        self.state = _last_state(job_dir.checkpoints)
        self._labels = Counter(self.state.labels)
        self._blocks: list[UsageBlock] = []
        self._began = self._saved = self._told = time.monotonic()
        self._earlier = self.state.seconds
        self._part: Path | None = None

    @property
    def seconds(self) -> float:
        """Of work so far, with that before the checkpoint."""
        return self._earlier + time.monotonic() - self._began

    def write(self, rows: Rows, answers: pl.DataFrame) -> None:
        """Write rows with the columns of their answers."""
        if self._part is None:
            self._part = self._folder / f"part-{len(self.state.parts):03d}"
            self._writer.open(self._part, first=not self.state.parts)
        self._writer.add(rows, answers)

    def add(self, usage: Sequence[UsageBlock], rows: int, labels: Mapping[str, int]) -> None:
        """Count the blocks of some rows that were written."""
        self.state.rows += rows
        self.state.failed += rows - sum(block.items for block in usage)
        self._labels.update(labels)
        self._blocks += usage
        if time.monotonic() - self._told > _USAGE_S:
            self.tell_usage()

    def save_if_due(self) -> None:
        """A checkpoint, if it is time for one."""
        wait = max(_FIRST_S, _SHARE * self.seconds)
        if time.monotonic() - self._saved >= wait and len(self.state.parts) < _MOST_PARTS:
            self.save()

    def save(self) -> None:
        """A checkpoint of all that was added."""
        self.end_part()
        self.tell_usage()
        name = f"state-{self.state.rows:012d}.json"
        write_atomic(self._folder / name, self._now().model_dump_json().encode())
        self._job_dir.checkpoint(self.state.rows, [*self.state.parts, name])
        self._saved = time.monotonic()

    def end_part(self) -> None:
        """Close the part that is open."""
        if self._part is not None:
            self._writer.close()
            self.state.parts.append(self._part.name)
            self._part = None

    def tell_usage(self) -> None:
        """Say what was used since this was said last."""
        if self._blocks:
            self._job_dir.usage(self._blocks)
            self._blocks = []
        self._told = time.monotonic()

    def join(self, target: Path) -> None:
        """The whole file. A checkpoint that is still on its way into storage may find its part gone."""
        self._writer.join([self._folder / name for name in self.state.parts], target)

    def labels(self) -> dict[str, int]:
        """How often each label was answered, the most frequent first."""
        return dict(self._labels.most_common(_MOST_LABELS))

    def _now(self) -> State:
        return self.state.model_copy(update={"labels": dict(self._labels), "seconds": self.seconds})


def _last_state(folder: Path) -> State:
    """The checkpoint that the runner has put there; a new state where there is none."""
    found = sorted(folder.glob("state-*.json"))
    if not found:
        return State()
    content: dict[str, Any] = json.loads(found[-1].read_bytes())
    return State.model_validate(content)
