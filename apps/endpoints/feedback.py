"""Feedback (stream slipway:feedback): the right answers that clients tell later."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from apps.endpoints.models import Feedback
from apps.usage.models import LedgerEntry
from workers.contracts.usage import FeedbackRecord


def apply(entries: Sequence[tuple[str, Mapping[bytes, bytes]]]) -> None:
    """Store feedback on predictions that the ledger knows; the last word on a prediction counts.

    Feedback on a request that this endpoint never answered is dropped; it is not an error.
    Raises ValueError, KeyError or DataError for an entry that is no record.
    """
    records = [FeedbackRecord.model_validate_json(fields[b"r"]) for _, fields in entries]
    wanted = {record.request_id for record in records}
    answered = {
        (entry.request_id, entry.endpoint_id): entry.items
        for entry in LedgerEntry.objects.filter(request_id__in=wanted, status=200)
    }
    kept = {
        (record.endpoint, record.request_id, record.index): Feedback(
            endpoint_id=record.endpoint,
            request_id=record.request_id,
            index=record.index,
            label=record.label,
            labels=record.labels,
            key=record.key,
            time=datetime.fromtimestamp(record.time, UTC),
        )
        for record in records
        if 0 <= record.index < answered.get((record.request_id, record.endpoint), 0)
    }
    Feedback.objects.bulk_create(
        kept.values(),
        update_conflicts=True,
        unique_fields=["endpoint", "request_id", "index"],
        update_fields=["label", "labels", "key", "time"],
    )
