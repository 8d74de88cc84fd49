"""Usage records and other entries of the streams, as serving processes write them."""

import secrets
import time
from typing import Any

import redis

from tests.cast import Belongings
from workers.contracts import names
from workers.contracts.usage import FeedbackRecord, UsageRecord


def record(ours: Belongings, **fields: Any) -> UsageRecord:
    """An answered request of a team's endpoint, now."""
    defaults: dict[str, Any] = {
        "request_id": secrets.token_hex(12),
        "time": time.time(),
        "team": ours.team.pk,
        "project": ours.project.pk,
        "endpoint": ours.endpoint.pk,
        "model": ours.model.pk,
        "key": ours.key.pk,
        "status": 200,
        "items": 1,
        "compute_us": 500,
        "latency_us": 1000,
    }
    return UsageRecord(**{**defaults, **fields})


def send(client: "redis.Redis[bytes]", *records: UsageRecord) -> list[str]:
    """Append records to the usage stream; their positions."""
    return [client.xadd(names.STREAM_USAGE, {"r": one.model_dump_json()}).decode() for one in records]


def send_feedback(client: "redis.Redis[bytes]", ours: Belongings, request_id: str, **fields: Any) -> None:
    """Append feedback of the team's own key."""
    defaults = {"label": "good", "team": ours.team.pk, "endpoint": ours.endpoint.pk, "key": ours.key.pk}
    said = FeedbackRecord(**{"request_id": request_id, "time": time.time(), **defaults, **fields})
    client.xadd(names.STREAM_FEEDBACK, {"r": said.model_dump_json()})
