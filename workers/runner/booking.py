"""What a batch prediction has used, as usage records like those of the prediction API."""

from collections.abc import Iterator

from workers.contracts.events import Usage
from workers.contracts.job import JobSpec
from workers.contracts.usage import UsageRecord


def records(spec: JobSpec, event: Usage) -> Iterator[UsageRecord]:
    """One record per block. Who pays stands in the spec: the child only counts."""
    batch = spec.batch
    if batch is None:
        return
    for block in event.blocks:
        yield UsageRecord(
            request_id=f"{batch.prediction}.{block.number}",
            time=event.time,
            team=spec.team,
            project=batch.project,
            endpoint=batch.endpoint,
            revision=batch.revision,
            model=batch.model,
            key=batch.prediction,
            status=200,
            items=block.items,
            compute_us=block.compute_us,
            latency_us=block.compute_us,
        )
