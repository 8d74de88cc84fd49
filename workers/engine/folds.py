"""k-fold cross-validation: stratified by label, equal content never on both sides, the test rows apart."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workers.contracts.errors import JobError
from workers.engine.ledger import Ledger
from workers.engine.parts import Part, Span
from workers.engine.run import HeldOut, Run, Trained
from workers.task_templates.base import FoldedParams, TaskTemplate

if TYPE_CHECKING:
    import pyarrow

_OUTSIDE = -1
# A fold is begun with time for it, for the model itself, and for evaluation and export.
_TIMES_A_FOLD = 2.5


def deal(run: Run, folds: int, splits: Sequence[str] = ("train", "validation")) -> np.ndarray:
    """int64 [rows of the file]: the fold of each row of these splits, -1 for the others.

    Rows of equal content (column `hash`) are dealt together, as are those of a group that are nearly the same (`group`,
    if there is one); each label's rows are spread evenly, by the run's seed.
    Raises JobError where a fold would be empty.
    """
    import pyarrow.compute
    import pyarrow.parquet

    known = set(pyarrow.parquet.read_schema(run.data_path).names)
    columns = [name for name in ("split", "hash", "label", "group") if name in known]
    table = pyarrow.parquet.read_table(run.data_path, columns=columns, memory_map=True)
    inside = _codes(table["split"], list(splits)) >= 0
    whole = table["hash"]
    if "group" in known:
        whole = pyarrow.compute.coalesce(table["group"], whole.cast(pyarrow.string()))
    contents = _codes(whole)[inside]
    labels = _codes(table["label"])[inside]
    # One entry per content, with the label of its first row and its number of rows.
    unique, first, content_of_row, sizes = np.unique(
        contents, return_index=True, return_inverse=True, return_counts=True
    )
    label_of_content = labels[first]
    source = np.random.default_rng([run.seed, folds])
    fold_of_content = np.zeros(len(unique), dtype=np.int64)
    for label in np.unique(label_of_content):
        members = source.permutation(np.flatnonzero(label_of_content == label))
        ends = np.cumsum(sizes[members])
        # Where the middle of a content's rows falls; turned, so that rare labels are not all in the same folds.
        places = (ends - sizes[members] / 2) * folds // max(1, ends[-1])
        fold_of_content[members] = (places.astype(np.int64) + source.integers(folds)) % folds
    dealt = np.full(len(table), _OUTSIDE, dtype=np.int64)
    dealt[inside] = fold_of_content[content_of_row]
    if len(np.unique(fold_of_content)) < folds:
        raise JobError("too_few_rows", evidence=f"{len(unique)} different rows cannot be dealt into {folds} folds.")
    return dealt


def _codes(column: "pyarrow.ChunkedArray", names: list[str] | None = None) -> np.ndarray:
    """int64 [rows]: equal values, equal numbers; with `names`, their places there, -1 for others."""
    import pyarrow.compute

    if names is not None:
        found = pyarrow.compute.index_in(column, pyarrow.array(names))
        return np.asarray(pyarrow.compute.fill_null(found, -1).to_numpy(), dtype=np.int64)
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def masks_of(dealt: np.ndarray, fold: int, test: np.ndarray) -> Callable[[str], np.ndarray]:
    """Splits of one fold: its rows judge, the others train; `test` (bool [rows]) stays what it is."""
    inside = dealt != _OUTSIDE
    splits = {"train": inside & (dealt != fold), "validation": dealt == fold, "test": test}
    return splits.__getitem__


class CrossValidated(NamedTuple):
    """`metrics`: {"folds", "mean", "std", "per_fold"} of the held-out rows by name (std with k - 1 in the denominator);
    {} where the time limit allowed one fold alone. `models`: the trained ones where they together are the result, else
    []. `held_out`: each fold's answers of its rows; [] where not all were given in this attempt."""

    metrics: dict[str, Any]
    models: list[Trained]
    held_out: list[HeldOut]


def cross_validate(run: Run, template: TaskTemplate, ledger: Ledger, window: Span) -> CrossValidated:
    """Train and judge one model per fold, with the parameters of `run`. Raises JobError."""
    params = run.params
    assert isinstance(params, FoldedParams)
    count = params.folds
    dealt = deal(run, count)
    test = dealt == _OUTSIDE
    if params.is_average and not test.any():
        raise JobError("too_few_rows", evidence="The mean of the folds' models is judged on test rows; there are none.")
    nothing = np.zeros(len(dealt), dtype=bool)
    everything = {"train": ~test, "validation": nothing, "test": nothing}
    shared = Part(
        run,
        ledger,
        name=f"{run.name or 'run'}-folds",
        params=params,
        span=window,
        masks=everything.__getitem__,
    )
    run.log(f"Cross-validation: {int((~test).sum()):,} rows in {count} folds.")
    models: list[Trained] = []
    held_out: list[HeldOut] = []
    seconds = 0.0
    for fold in range(count):
        if run.seconds_left() < _TIMES_A_FOLD * seconds:
            run.log(f"The time limit allows {fold} of {count} folds.", "warning")
            break
        part = Part(
            run,
            ledger,
            name=f"fold-{fold + 1}",
            params=params,
            span=_span(window, fold, count),
            title=f"Fold {fold + 1} of {count}",
            masks=masks_of(dealt, fold, test if params.is_average else nothing),
            preparation=shared if params.is_average else None,
        )
        if fold < len(ledger.folds) and not params.is_average:
            continue
        is_new = fold >= len(ledger.folds)
        trained = template.train(part)
        run.choose(**part.chosen)
        if answers := trained.held_out("validation"):
            held_out.append(answers)
        if is_new:
            _note(run, template, ledger, part, trained, count)
            seconds = max(seconds, part.seconds)
        if params.is_average:
            models.append(trained)
    if len(models) > 1:
        run.note(f"Answers with the mean probability of {len(models)} models; each had other rows held out.")
    metrics = summary(ledger.folds) if len(ledger.folds) > 1 else {}
    return CrossValidated(metrics, models, held_out if len(held_out) == count else [])


def _note(run: Run, template: TaskTemplate, ledger: Ledger, part: Part, trained: Trained, count: int) -> None:
    """Write down a fold's metrics, and keep or drop its checkpoint."""
    measured = trained.evaluate()[0]["validation"]
    ledger.folds.append({name: value for name, value in measured.items() if isinstance(value, int | float)})
    params = run.params
    if isinstance(params, FoldedParams) and params.is_average:
        ledger.kept = [*ledger.kept, *part.saved()]
        ledger.announce()
    else:
        ledger.announce()
        part.discard()
    score = measured[template.metric_for(run.multi_label)]
    run.log(
        f"Fold {len(ledger.folds)} of {count}: {template.metric_for(run.multi_label)} {score:.4f} on its held-out rows."
    )


def _span(window: Span, fold: int, count: int) -> Span:
    width = (window.high - window.low) / count
    low = window.low + width * fold
    return Span(low, low + width, lambda seconds: seconds * (count - fold - 1))


def summary(folds: list[dict[str, float]]) -> dict[str, Any]:
    """Mean and sample standard deviation of each metric over the folds."""
    names = [name for name in folds[0] if all(name in fold for fold in folds)]
    values = {name: np.array([fold[name] for fold in folds]) for name in names}
    return {
        "folds": len(folds),
        "mean": {name: float(found.mean()) for name, found in values.items()},
        "std": {name: float(found.std(ddof=1)) for name, found in values.items()},
        "per_fold": folds,
    }
