"""Usage: the ledger of requests, its sums per minute, and how far the streams have been applied."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.expressions import RawSQL

from apps.core.ids import IdField
from workers.contracts import names


class StreamPosition(models.Model):
    """The last entry of a stream that was applied; written in the transaction that applied it."""

    stream = models.CharField(max_length=60, primary_key=True)
    position = models.CharField(max_length=40, default="0-0")

    def __str__(self) -> str:
        return f"{self.stream} {self.position}"


class DeadLetter(models.Model):
    """A stream entry that could not be applied, with the reason, and what an operator has done about it."""

    class Outcome(models.TextChoices):
        APPLIED = "applied", "applied"
        DROPPED = "dropped", "dropped"

    id = models.BigAutoField(primary_key=True)
    stream = models.CharField(max_length=60)
    position = models.CharField(max_length=40)
    # To be read: decoded leniently and cut to 10,000 characters.
    entry = models.TextField()
    # To be applied: a JSON object, each character one byte.
    fields = models.TextField(db_default="{}")
    reason = models.CharField(max_length=400)
    created = models.DateTimeField(auto_now_add=True)
    settled = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=10, choices=Outcome.choices, blank=True, db_default="")
    settled_by = models.CharField(max_length=100, blank=True, db_default="")

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
    # The client named the revision: not part of the split.
    pinned = models.BooleanField(default=False)
    status = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=40, blank=True)
    items = models.PositiveIntegerField()
    compute_us = models.PositiveBigIntegerField()
    queue_us = models.PositiveBigIntegerField()
    latency_us = models.PositiveBigIntegerField()
    bytes_in = models.PositiveBigIntegerField()
    bytes_out = models.PositiveBigIntegerField()
    # Which process made the record and its number there (see UsageRecord); empty and 0 where it was not numbered.
    process = models.CharField(max_length=40, blank=True, default="")
    number = models.PositiveIntegerField(default=0)
    # The order in which entries were recorded: one recorder works at a time, so a later one has a higher number.
    sequence = models.BigIntegerField(db_default=RawSQL("nextval('usage_ledger_sequence')", []), editable=False)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["team_id", "time"]),
            models.Index(fields=["endpoint_id", "time"]),
            # A candidate's last answers, which are judged every two seconds, may be few among many.
            models.Index(fields=["revision_id", "time"], name="ledger_by_revision"),
            # Entries lie nearly in the order of their time: what is to be forgotten is found by a few kilobytes.
            BrinIndex(fields=["time"], name="ledger_by_time"),
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
            models.Index(fields=["project_id", "minute"], name="rollups_by_project"),
            models.Index(fields=["endpoint_id", "minute"]),
        ]

    def __str__(self) -> str:
        return f"{self.minute} {self.endpoint_id} {self.status}: {self.requests}"


class GatewayCount(models.Model):
    """How many records of a team a serving process says to have made in a minute, and how many it could not write."""

    id = models.BigAutoField(primary_key=True)
    process = models.CharField(max_length=40)
    team_id = models.CharField(max_length=32)
    minute = models.DateTimeField()
    numbered = models.PositiveIntegerField()
    unwritten = models.PositiveIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team_id", "minute", "process"], name="one_count_per_process_and_minute")
        ]
        indexes: ClassVar = [BrinIndex(fields=["minute"], name="gateway_counts_by_minute")]

    def __str__(self) -> str:
        return f"{self.process} {self.minute}: {self.numbered}"


class LedgerHour(models.Model):
    """How many ledger entries a team has in an hour, and how many of them are in files."""

    id = models.BigAutoField(primary_key=True)
    team_id = models.CharField(max_length=32)
    hour = models.DateTimeField()
    entries = models.PositiveBigIntegerField()
    exported = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["team_id", "hour"], name="one_ledger_hour")]
        indexes: ClassVar = [
            models.Index(
                fields=["hour"], condition=~models.Q(entries=models.F("exported")), name="ledger_hours_to_export"
            )
        ]

    def __str__(self) -> str:
        return f"{self.team_id} {self.hour}: {self.exported} of {self.entries}"


class LedgerFile(models.Model):
    """A Parquet file in storage with the ledger of a team's hour; part 2 and later hold what came late.

    Its entries are those up to `through` (LedgerEntry.sequence) that no earlier part holds: fixed before it is written,
    so that writing it again gives the same file.
    """

    id = IdField("usf")
    team_id = models.CharField(max_length=32)
    hour = models.DateTimeField()
    part = models.PositiveIntegerField()
    through = models.BigIntegerField()
    # Known when the file is in storage.
    rows = models.PositiveBigIntegerField(null=True)
    bytes = models.PositiveBigIntegerField(null=True)
    sha256 = models.CharField(max_length=64, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["team_id", "hour", "part"], name="one_file_per_part")]

    def __str__(self) -> str:
        return self.filename

    @property
    def key(self) -> str:
        """Where it is in storage."""
        return names.usage_key(self.team_id, self.hour, self.part)

    @property
    def filename(self) -> str:
        """What it is called when it is downloaded."""
        addition = "" if self.part == 1 else f"-{self.part}"
        return f"usage-{self.hour:%Y-%m-%d-%H}{addition}.parquet"


class Quota(models.Model):
    """How many requests a single endpoint or key may answer in a month; the team's own is in Team."""

    subject_id = models.CharField(max_length=32, primary_key=True)
    team = models.ForeignKey("teams.Team", on_delete=models.CASCADE, related_name="+")
    monthly_requests = models.PositiveBigIntegerField()

    def __str__(self) -> str:
        return f"{self.subject_id}: {self.monthly_requests}"


class QuotaNotice(models.Model):
    """A warning that a share of monthly requests is used: given once per month, share and limit.

    The requests are those of the whole team, or of the endpoint or key that is named.
    """

    id = models.BigAutoField(primary_key=True)
    team = models.ForeignKey("teams.Team", on_delete=models.CASCADE, related_name="+")
    subject_id = models.CharField(max_length=32, blank=True)
    subject_name = models.CharField(max_length=200, blank=True)
    month = models.DateField()
    percent = models.PositiveSmallIntegerField()
    limit = models.PositiveBigIntegerField()
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["team", "subject_id", "month", "percent", "limit"], name="one_notice_per_share_and_subject"
            )
        ]

    def __str__(self) -> str:
        return f"{self.subject_id or self.team_id} {self.month}: {self.percent} %"
