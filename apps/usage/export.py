"""The ledger as hourly Parquet files in storage, for audit and export: each entry is in exactly one file.

A file's entries are fixed in the database before it is written, so whoever writes it, and however often, writes the
same file. Entries that come after their hour's file was fixed go to a later part.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from django.db import transaction
from django.db.models import F, Max, QuerySet
from django.utils import timezone

from apps.core.artifacts import storage
from apps.usage.models import LedgerEntry, LedgerFile, LedgerHour
from workers.contracts.errors import SlipwayError

log = structlog.get_logger(__name__)

# After its end an hour is left this long to the records that are still on their way.
GRACE: Final = timedelta(minutes=5)
_ROW_GROUP: Final = 50_000
SCHEMA: Final = pa.schema(
    [
        ("request_id", pa.string()),
        ("time", pa.timestamp("us", tz="UTC")),
        *(
            (name, pa.string())
            for name in ("team_id", "project_id", "endpoint_id", "revision_id", "model_id", "key_id")
        ),
        ("status", pa.int16()),
        ("code", pa.string()),
        *((name, pa.int64()) for name in ("items", "compute_us", "queue_us", "latency_us", "bytes_in", "bytes_out")),
        ("process", pa.string()),
        ("number", pa.int32()),
    ]
)


def export_hours(now: datetime | None = None) -> int:
    """Write what is missing for every hour that is over; how many files."""
    before = (now or timezone.now()) - GRACE - timedelta(hours=1)
    due = LedgerHour.objects.filter(hour__lte=before).exclude(entries=F("exported")).order_by("hour", "team_id")
    written = 0
    for hour in due:
        try:
            written += write(fixed(hour.pk))
        except (SlipwayError, ValueError) as error:
            log.warning("ledger_not_exported", team=hour.team_id, hour=str(hour.hour), reason=str(error)[:200])
    return written


def fixed(hour_id: int) -> LedgerFile:
    """The file that an hour lacks: one that was begun, or a new one with all that no other file has."""
    with transaction.atomic():
        hour = LedgerHour.objects.select_for_update().get(pk=hour_id)
        files = LedgerFile.objects.filter(team_id=hour.team_id, hour=hour.hour).order_by("part")
        last = files.last()
        if last is not None and last.rows is None:
            return last
        through = _entries(hour.team_id, hour.hour).aggregate(last=Max("sequence"))["last"]
        if through is None or (last is not None and through <= last.through):
            # Its entries have been forgotten, and were never exported.
            raise ValueError("the ledger no longer has these entries")
        part = last.part + 1 if last else 1
        return LedgerFile.objects.create(team_id=hour.team_id, hour=hour.hour, part=part, through=through)


def write(file: LedgerFile) -> bool:
    """Write a fixed file and note that it is there; False where another process was quicker. Raises SlipwayError."""
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        path = Path(folder) / file.filename
        rows = write_parquet(file, path)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = path.stat().st_size
        storage().put_file(path, file.key)
    with transaction.atomic():
        unwritten = LedgerFile.objects.filter(pk=file.pk, rows=None)
        if not unwritten.update(rows=rows, bytes=size, sha256=digest):
            return False
        LedgerHour.objects.filter(team_id=file.team_id, hour=file.hour).update(exported=F("exported") + rows)
    log.info("ledger_exported", team=file.team_id, file=file.filename, rows=rows, bytes=size)
    return True


def write_parquet(file: LedgerFile, path: Path) -> int:
    """Write a file's entries to a local path, in the order of their recording; how many. The same bytes each time."""
    before = LedgerFile.objects.filter(team_id=file.team_id, hour=file.hour, part=file.part - 1).first()
    found = _entries(file.team_id, file.hour).filter(sequence__lte=file.through)
    if before is not None:
        found = found.filter(sequence__gt=before.through)
    values = found.order_by("sequence").values_list(*SCHEMA.names).iterator(chunk_size=_ROW_GROUP)
    count = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for rows in _groups(values):
            columns = zip(*rows, strict=True)
            arrays = [pa.array(column, type=kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))
            count += len(rows)
    return count


def _entries(team_id: str, hour: datetime) -> QuerySet[LedgerEntry]:
    return LedgerEntry.objects.filter(team_id=team_id, time__gte=hour, time__lt=hour + timedelta(hours=1))


def _groups(values: Iterator[Any]) -> Iterator[list[Any]]:
    while rows := list(islice(values, _ROW_GROUP)):
        yield rows
