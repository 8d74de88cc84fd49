"""One batch prediction from its job folder to its result."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

from workers.batch.answers import Answers, answers_for
from workers.batch.course import Course
from workers.batch.predicting import Answering
from workers.batch.sources import Block, Source, open_source
from workers.batch.staging import Staging
from workers.batch.writers import WRITERS, cells_of
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
    progress, manifest = ProgressMeter(job_dir), predictor.manifest
    with Staging(job_dir, spec) as staging, closing(open_source(staging, spec, manifest)) as source:
        if source.missing:
            listed = ", ".join(source.missing[:20])
            job_dir.log(f"The file lacks columns of the model, which are taken as missing values: {listed}", "warning")
        with closing(Answering(predictor, spec.kind)) as answering:
            return _Run(job_dir, spec, source, manifest, progress).work(answering)


class _Run:
    """The file, what is added to it, and how far it is."""

    def __init__(
        self, job_dir: JobDir, spec: BatchSpec, source: Source, manifest: dict[str, Any], progress: ProgressMeter
    ) -> None:
        self._job_dir, self._spec, self._source, self._progress = job_dir, spec, source, progress
        self._format = spec.format or source.format
        self._answers: Answers = answers_for(manifest, scores=spec.scores, taken=source.columns)
        self._course = Course(job_dir, WRITERS[self._format](source, self._answers))
        self._block_rows = KINDS[spec.kind].max_inputs

    def work(self, answering: Answering) -> BatchResult:
        """All blocks, then the whole file."""
        course = self._course
        begun = course.state.rows // self._block_rows
        for number, block in enumerate(self._source.blocks(self._block_rows, course.state.rows), begun):
            self._check_quota(number - begun)
            predictions, microseconds = answering.answer(block)
            items = sum(prediction is not None for prediction in predictions)
            self._add(block, predictions, UsageBlock(number=number, items=items, compute_us=microseconds))
        course.end_part()
        course.tell_usage()
        if not course.state.rows:
            raise JobError("no_rows", "The file holds no rows.")
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

    def _check_quota(self, used: int) -> None:
        """A block counts as a request of as many inputs does. Raises JobError `quota_exceeded`, after a checkpoint."""
        if self._spec.requests_left is not None and used >= self._spec.requests_left:
            self._course.save()
            done = f"{self._course.state.rows:,} rows are done and kept."
            raise JobError("quota_exceeded", evidence=done)

    def _add(self, block: Block, predictions: Sequence[dict[str, Any] | None], usage: UsageBlock) -> None:
        course, answers = self._course, self._answers
        rows = [answers.row(prediction, error) for prediction, error in zip(predictions, block.errors, strict=True)]
        course.write(block, rows)
        if len(course.state.preview.rows) < _SHOWN_ROWS:
            course.state.preview = self._shown(block, rows)
        course.add(
            usage, len(rows), [label for one in predictions if one is not None for label in answers.counted(one)]
        )
        fraction = (1 - _JOIN_SHARE) * self._source.fraction()
        self._progress.report(fraction, f"{course.state.rows:,} rows predicted")
        course.save_if_due()

    def _shown(self, block: Block, answers: list[list[Any]]) -> BatchPreview:
        """The first rows with their answers, as text."""
        columns = self._source.columns[:_SHOWN_COLUMNS]
        own = cells_of(block, self._source.columns)[:_SHOWN_ROWS]
        pairs = zip(own, answers[:_SHOWN_ROWS], strict=True)
        rows = [[_cell(value) for value in (*row[:_SHOWN_COLUMNS], *_ends(answer))] for row, answer in pairs]
        return BatchPreview(columns=[*columns, *_ends(self._answers.names)], rows=rows)


def _ends(answer: list[Any]) -> list[Any]:
    """The first cells of an answer and its last, the error."""
    return [*answer[:_SHOWN_COLUMNS], *answer[_SHOWN_COLUMNS:][-1:]]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(cell_text, value))[:_SHOWN_CHARS]
    return printable(cell_text(value))[:_SHOWN_CHARS]
