"""Real runners for the tests of training, and jobs for them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings

from apps.core.artifacts import storage
from apps.datasets.models import Dataset, DatasetVersion
from apps.training import actions
from tests.cast import Cast
from tests.runner.worker import Worker
from tests.training.courses import Course
from workers.task_templates import TEMPLATES


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts real runners; all are ended afterwards."""
    started: list[Worker] = []

    def start(node: str = "runner-1", home: str = "home") -> Worker:
        url, store = settings.REDIS_URL, str(settings.SLIPWAY_STORAGE)
        started.append(Worker.start(tmp_path / home, url, store, app="tests.training.quick_worker", node=node))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


@pytest.fixture
def begin(cast: Cast, redis_client: redis.Redis, tmp_path: Path) -> Callable[..., Course]:
    """Queues a training on a template's toy data."""

    def queue(template: str, **parameters: Any) -> Course:
        dataset = cast.ours.dataset
        Dataset.objects.filter(pk=dataset.pk).update(kind=TEMPLATES[template].kind)
        TEMPLATES[template].toy_data(tmp_path / "data.parquet")
        storage().put_file(tmp_path / "data.parquet", cast.ours.version.data_key)
        job = actions.create_training(
            actor=cast.bob,
            project=cast.ours.project,
            version=DatasetVersion.objects.get(pk=cast.ours.version.pk),
            template=template,
            preset="fast",
            parameters=parameters,
        )
        return Course(job, redis_client)

    return queue
