"""Training recommenders in tests: small data with a known answer, a run in a folder, a bundle that predicts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from tests.engine.jobs import make_spec
from workers.contracts.jobdir import JobDir
from workers.engine.recommenders.interactions import Log
from workers.engine.recommenders.trained import TrainedRecommender
from workers.engine.run import Run
from workers.inference import runtime
from workers.inference.ranked import RankedItems
from workers.task_templates import TEMPLATES

TEMPLATE = TEMPLATES["recommendation"]
Row = tuple[str, str, str]


def write_rows(
    path: Path,
    rows: Sequence[Row],
    ratings: Sequence[float | None] | None = None,
    times: Sequence[int | None] | None = None,
) -> Path:
    """A data.parquet of (user, item, split) rows."""
    columns: dict[str, Any] = {
        "row": list(range(len(rows))),
        "user": [row[0] for row in rows],
        "item": [row[1] for row in rows],
        "split": [row[2] for row in rows],
    }
    table = pyarrow.table(columns)
    if ratings is not None:
        table = table.append_column("rating", pyarrow.array(ratings, pyarrow.float32()))
    if times is not None:
        table = table.append_column("timestamp", pyarrow.array(times, pyarrow.int64()))
    pyarrow.parquet.write_table(table, path)
    return path


def toy(folder: Path) -> Path:
    """The template's own toy data."""
    path = folder / "toy.parquet"
    TEMPLATE.toy_data(path, seed=0)
    return path


def log_of(rows: Sequence[Row], weights: Sequence[float] | None = None) -> Log:
    """A log in memory of (user, item, split) rows."""
    users, items = sorted({row[0] for row in rows}), sorted({row[1] for row in rows})
    return Log(
        users,
        items,
        np.array([users.index(row[0]) for row in rows]),
        np.array([items.index(row[1]) for row in rows]),
        np.array([("train", "validation", "test").index(row[2]) for row in rows], np.int8),
        np.array(weights or [1.0] * len(rows), np.float32),
    )


def start_run(folder: Path, data: Path, preset: str = "fast", **parameters: Any) -> Run:
    """A run in `folder`; in the same folder, another attempt at it."""
    spec = make_spec("recommendation", preset=preset, parameters=parameters)
    job_dir = JobDir.create(folder, spec)
    (job_dir.inputs / "data.parquet").write_bytes(data.read_bytes())
    return Run(job_dir, spec, TEMPLATE.resolve(spec.train.preset, parameters))


def train(folder: Path, data: Path, preset: str = "fast", **parameters: Any) -> TrainedRecommender:
    """Train on a data.parquet."""
    trained = TEMPLATE.train(start_run(folder, data, preset, **parameters))
    assert isinstance(trained, TrainedRecommender)
    return trained


def bundle(trained: TrainedRecommender, folder: Path) -> RankedItems:
    """The predictor of what a trained recommender exports."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {
        "manifest_version": 1,
        "predictor": TEMPLATE.predictor,
        "labels": [],
        "preprocessing": trained.export(folder),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    predictor = runtime.load(folder)
    assert isinstance(predictor, RankedItems)
    return predictor


def answer(predictor: RankedItems, *inputs: Any) -> list[dict[str, Any]]:
    """Predictions for the inputs of one request."""
    return predictor.predict(predictor.parse({"inputs": list(inputs)}))


def names(prediction: dict[str, Any]) -> list[str]:
    """The items of a prediction, best first."""
    return [entry["item"] for entry in prediction["items"]]
