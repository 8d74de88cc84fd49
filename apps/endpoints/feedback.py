"""Applying feedback (stream slipway:feedback): the right answers that clients report later."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from pydantic import ValidationError

from apps.endpoints.models import Endpoint, Feedback
from workers.contracts.usage import FeedbackRecord


class PoisonFeedback(ValueError):
    """A record that can never be applied."""


def apply(entries: Iterable[tuple[str, Mapping[bytes, bytes]]]) -> None:
    """Apply (position, fields) entries; a second answer for the same prediction replaces the first."""
    for _position, fields in entries:
        try:
            record = FeedbackRecord.model_validate_json(fields[b"r"])
        except (ValidationError, KeyError) as error:
            raise PoisonFeedback(f"{type(error).__name__}: {error}"[:400]) from error
        if "\x00" in record.label + record.request_id or len(record.label) > 400 or len(record.request_id) > 64:
            raise PoisonFeedback("a field is too long or holds a NUL character")
        if not Endpoint.objects.filter(pk=record.endpoint, project__team=record.team).exists():
            raise PoisonFeedback("there is no such endpoint")
        Feedback.objects.update_or_create(
            endpoint_id=record.endpoint,
            request_id=record.request_id,
            index=record.index,
            defaults={"label": record.label, "key": record.key, "time": datetime.fromtimestamp(record.time, UTC)},
        )
