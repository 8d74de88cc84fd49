"""One batch prediction from its job folder to its result."""

import time
from contextlib import closing
from typing import Any, Final

import numpy as np

from workers.batch.answers import Answered, Answers, answers_for
from workers.batch.course import Course
from workers.batch.predicting import Answering
from workers.batch.rows import Rows
from workers.batch.sources import Block, Source, open_source
from workers.batch.staging import Staging
from workers.batch.writers import WRITERS
from workers.contracts.errors import JobError
from workers.contracts.events import UsageBlock
from workers.contracts.job import BatchSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.kinds import KINDS
from workers.contracts.manifest import BatchPreview, BatchResult
from workers.inference.core import Predictor
from workers.ingest.cells import cell_text
from workers.ingest.context import ProgressMeter
from workers.ingest.records import printable
from workers.serving.bundles import open_bundle

_JOIN_SHARE: Final = 0.02
# What is predicted before it is written: for so long, and so many numbers of answers.
_WRITE_S: Final = 0.25
_NUMBERS: Final = 2**22
# What the result's page shows of the answered file.
_SHOWN_ROWS, _SHOWN_COLUMNS, _SHOWN_CHARS = 10, 12, 200


def run(job_dir: JobDir) -> BatchResult:
    """Answer `inputs/source` with `inputs/bundle.zip` into `output/predictions.*`. Raises JobError."""
    job_dir.progress(0.0, "Loading the model")
    spec = job_dir.spec().batch
    return answer_file(job_dir, open_bundle(job_dir.inputs / "bundle.zip", spec.variant if spec else "").predictor)


def answer_file(job_dir: JobDir, predictor: Predictor) -> BatchResult:
    """The same with a loaded bundle."""
    spec = job_dir.spec().batch
    if spec is None:
        raise ValueError("the spec is not one of a batch prediction")
    with Staging(job_dir, spec) as staging, closing(open_source(staging, spec, predictor.manifest)) as source:
        if source.missing:
            listed = ", ".join(source.missing[:20])
            job_dir.log(f"The file lacks columns of the model, which are taken as missing values: {listed}", "warning")
        answers = answers_for(predictor, scores=spec.scores, taken=source.columns)
        with closing(Answering(predictor, spec.kind, answers)) as answering:
            return _Run(job_dir, spec, source, answers).work(answering)


class _Waiting:
    """Rows that are answered and not written yet: a moment's, since writing few is dear."""

    def __init__(self) -> None:
        self.rows: list[Rows] = []
        self.answers: list[np.ndarray] = []
        self.errors: dict[int, str] = {}
        self.usage: list[UsageBlock] = []
        self._count = 0
        self._began = time.monotonic()

    def add(self, block: Block, answers: np.ndarray, usage: UsageBlock) -> None:
        """One more block."""
        self.errors.update((self._count + place, error) for place, error in block.errors.items())
        self._count += len(block)
        self.rows.append(block.rows)
        self.answers.append(answers)
        self.usage.append(usage)

    def is_due(self) -> bool:
        """Whether it is time to write them, or they are many."""
        numbers = sum(answers.size for answers in self.answers)
        return numbers > _NUMBERS or time.monotonic() - self._began > _WRITE_S


class _Run:
    """The file, what is added to it, and how far it is.

    Rows are metered in blocks, each a request's worth, and written many blocks at a time.
    """

    def __init__(self, job_dir: JobDir, spec: BatchSpec, source: Source, answers: Answers) -> None:
        self._job_dir, self._spec, self._source, self._answers = job_dir, spec, source, answers
        self._progress = ProgressMeter(job_dir)
        self._format = spec.format or source.format
        self._course = Course(job_dir, WRITERS[self._format](source, answers))
        self._size = KINDS[spec.kind].max_inputs
        self._number = self._course.state.rows // self._size
        self._end = None if spec.requests_left is None else self._number + spec.requests_left
        self._waiting = _Waiting()

    def work(self, answering: Answering) -> BatchResult:
        """All rows, then the whole file."""
        course = self._course
        with closing(self._source.blocks(self._size, course.state.rows)) as blocks:
            for block in blocks:
                self._check_quota()
                self._answer(block, answering)
                if self._waiting.is_due():
                    self._write()
                    fraction = (1 - _JOIN_SHARE) * block.fraction
                    self._progress.report(fraction, f"{course.state.rows:,} rows predicted")
                    course.save_if_due()
        self._write()
        course.end_part()
        course.tell_usage()
        if not course.state.rows:
            raise JobError("no_rows", "The file holds no rows.", hint="Export it again and look at its size.")
        self._progress.report(1 - _JOIN_SHARE, "Writing the file", always=True)
        course.join(self._job_dir.output / f"predictions.{self._format}")
        self._progress.report(1.0, "Done", always=True)
        return BatchResult(
            rows=course.state.rows,
            failed=course.state.failed,
            format=self._format,
            columns=self._answers.names,
            labels=course.labels(),
            preview=course.state.preview,
            seconds=round(course.seconds, 3),
        )

    def _check_quota(self) -> None:
        """A block counts as a request of as many inputs does. Raises JobError `quota_exceeded`, after a checkpoint."""
        if self._number == self._end:
            self._write()
            self._course.save()
            done = f"{self._course.state.rows:,} rows are done and kept."
            raise JobError("quota_exceeded", evidence=done)

    def _answer(self, block: Block, answering: Answering) -> None:
        answers, microseconds = answering.answer(block)
        items = len(block) - len(block.errors)
        self._waiting.add(block, answers, UsageBlock(number=self._number, items=items, compute_us=microseconds))
        self._number += 1

    def _write(self) -> None:
        """What waits."""
        waiting, self._waiting = self._waiting, _Waiting()
        if not waiting.rows:
            return
        rows = waiting.rows[0].joined(waiting.rows[1:])
        course, answered = self._course, self._answers.columns(np.concatenate(waiting.answers), waiting.errors)
        course.write(rows, answered.frame)
        if len(course.state.preview.rows) < _SHOWN_ROWS:
            course.state.preview = self._shown(rows, answered)
        course.add(waiting.usage, len(rows), answered.labels)

    def _shown(self, rows: Rows, answered: Answered) -> BatchPreview:
        """The first rows with their answers, as text."""
        columns = map(printable, self._source.columns[:_SHOWN_COLUMNS])
        own = rows.slice(0, _SHOWN_ROWS).cells()[:, :_SHOWN_COLUMNS].rows()
        pairs = zip(own, answered.frame.head(_SHOWN_ROWS).rows(), strict=True)
        shown = [[_cell(value) for value in (*row, *_ends(answer))] for row, answer in pairs]
        return BatchPreview(columns=[*columns, *_ends(self._answers.names)], rows=shown)


def _ends(answer: Any) -> list[Any]:
    """The first cells of an answer and its last, the error."""
    return [*answer[:_SHOWN_COLUMNS], *answer[_SHOWN_COLUMNS:][-1:]]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(cell_text, value))[:_SHOWN_CHARS]
    return printable(cell_text(value))[:_SHOWN_CHARS]
