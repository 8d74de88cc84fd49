"""Usage: the ledger of requests, its sums per minute, and how far the streams have been applied."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models


class StreamPosition(models.Model):
    """The last entry of a stream that was applied; written in the transaction that applied it."""

    stream = models.CharField(max_length=60, primary_key=True)
    position = models.CharField(max_length=40, default="0-0")

    def __str__(self) -> str:
        return f"{self.stream} {self.position}"


class DeadLetter(models.Model):
    """A stream entry that could not be applied, with the reason."""

    id = models.BigAutoField(primary_key=True)
    stream = models.CharField(max_length=60)
    position = models.CharField(max_length=40)
    # Decoded leniently and cut to 10,000 characters.
    entry = models.TextField()
    reason = models.CharField(max_length=400)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["stream", "position"], name="one_letter_per_entry")]

    def __str__(self) -> str:
        return f"{self.stream} {self.position}: {self.reason}"


class LedgerEntry(models.Model):
    """One request (workers.contracts.usage.UsageRecord). Its id is the request's: counted once, whatever happens."""

    request_id = models.CharField(max_length=64, primary_key=True)
    time = models.DateTimeField()
    team_id = models.CharField(max_length=32)
    project_id = models.CharField(max_length=32)
    endpoint_id = models.CharField(max_length=32)
    revision_id = models.CharField(max_length=32, blank=True)
    model_id = models.CharField(max_length=32, blank=True)
    key_id = models.CharField(max_length=32, blank=True)
    status = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=40, blank=True)
    items = models.PositiveIntegerField()
    compute_us = models.PositiveBigIntegerField()
    queue_us = models.PositiveBigIntegerField()
    latency_us = models.PositiveBigIntegerField()
    bytes_in = models.PositiveBigIntegerField()
    bytes_out = models.PositiveBigIntegerField()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["team_id", "time"]),
            models.Index(fields=["endpoint_id", "time"]),
        ]

    def __str__(self) -> str:
        return self.request_id


class MinuteRollup(models.Model):
    """Sums of the ledger per minute and group. Derived in the transaction that inserts the ledger entries."""

    id = models.BigAutoField(primary_key=True)
    minute = models.DateTimeField()
    team_id = models.CharField(max_length=32)
    project_id = models.CharField(max_length=32)
    endpoint_id = models.CharField(max_length=32)
    model_id = models.CharField(max_length=32, blank=True)
    key_id = models.CharField(max_length=32, blank=True)
    status = models.PositiveSmallIntegerField()
    requests = models.PositiveBigIntegerField()
    items = models.PositiveBigIntegerField()
    compute_us = models.PositiveBigIntegerField()
    # Counts of latencies per bucket; apps.usage.histogram says where the buckets lie.
    latency_histogram = ArrayField(models.PositiveBigIntegerField())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["minute", "endpoint_id", "model_id", "key_id", "status"],
                name="one_rollup_per_group",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["team_id", "minute"]),
            models.Index(fields=["endpoint_id", "minute"]),
        ]

    def __str__(self) -> str:
        return f"{self.minute} {self.endpoint_id} {self.status}: {self.requests}"
