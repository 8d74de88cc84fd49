"""Files that come packed: compressed ones, and archives of tables. What is in them is staged and then read as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from workers.contracts.errors import JobError
from workers.contracts.job import IngestLimits
from workers.ingest import compression, sniff
from workers.ingest.archives import open_archive
from workers.ingest.archives.entries import Archive, Entry, Ledger
from workers.ingest.context import ProgressMeter
from workers.ingest.readers import open_table
from workers.ingest.readers.joined import JoinedTables
from workers.ingest.records import Problem, Table, printable

_CHUNK = 1 << 18
# What an archive's files are read as tables by; others are told and left out.
_TABLES = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".jsonl", ".ndjson", ".json", ".parquet")
_SHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_PAPERS = (".md", ".json", ".txt", ".gitattributes", ".yaml", ".yml")
# An archive of more files than these is not one of tables.
_MAX_TABLES = 100


class Packed(Protocol):
    """A job whose file may be packed: an import, a batch prediction."""

    @property
    def source(self) -> Path:
        """The file."""

    @property
    def filename(self) -> str:
        """What its owner calls it."""

    @property
    def staging(self) -> Path:
        """A folder that is gone at the end."""

    @property
    def limits(self) -> IngestLimits:
        """What it may hold."""

    @property
    def progress(self) -> ProgressMeter:
        """Who hears how far unpacking is."""

    def leave_out(self, name: str, line: int = 1) -> None:
        """A file of an archive is no table."""


class File(NamedTuple):
    """A file to import: where it is, what its owner calls it, its format."""

    path: Path
    name: str
    format: sniff.Format


def unpacked(ctx: Packed) -> File:
    """The file to import; where it came compressed, what it holds. Raises JobError."""
    file = File(ctx.source, ctx.filename, sniff.sniff(ctx.source, ctx.filename))
    if file.format != "compressed":
        return file
    target = ctx.staging / "unpacked"
    _decompress(ctx, file.path, target)
    name = compression.inner_name(file.name)
    inner = sniff.sniff(target, name)
    if inner == "compressed":
        raise JobError("format_unknown", "The file is compressed twice.", hint="Unpack it once.")
    return File(target, name, inner)


def _decompress(ctx: Packed, source: Path, target: Path) -> None:
    ledger = Ledger(ctx.limits)
    with open(source, "rb") as raw, open(target, "wb") as out:
        stream = compression.unpacking(raw)
        while True:
            try:
                piece = stream.read(_CHUNK)
            except compression.DAMAGED as error:
                evidence = f"After {ledger.unpacked:,} bytes: {error}"[:200]
                raise JobError("file_unreadable", "The compressed file is damaged.", evidence=evidence) from None
            if not piece:
                return
            ledger.add(len(piece), raw.tell())
            out.write(piece)
            ctx.progress.report(0.0, "Unpacking the file")


def tables(ctx: Packed, archive: File) -> Iterator[File]:
    """The tables of an archive, staged, in the archive's order. What is no table is told among the issues.

    Raises JobError where there is none, or where one cannot be unpacked.
    """
    found = 0
    with open_archive(archive.path, archive.format, ctx.limits) as opened:
        for entry in _files(ctx, opened):
            if found == _MAX_TABLES:
                raise JobError("archive_too_large", f"The archive has more than {_MAX_TABLES} tables.")
            target = ctx.staging / f"table-{found}"
            with open(target, "wb") as out:
                problem = entry.problem or entry.write_to(out, ctx.limits.max_unpacked_bytes)
            if problem:
                raise JobError("file_unreadable", problem.message, evidence=printable(entry.name)[:200])
            format = sniff.sniff(target, entry.name)
            if format in sniff.ARCHIVES or format == "compressed":
                raise JobError("format_unknown", "There is an archive in the archive.", evidence=entry.name[:200])
            found += 1
            yield File(target, entry.name, format)
    if not found:
        hint = "Upload the table itself: CSV, TSV, Excel, JSON or Parquet, as it is or compressed."
        raise JobError("format_unknown", "The archive has no table in it.", hint=hint)


def open_file(ctx: Packed, file: File) -> Table:
    """The table that a file is, or that the tables in an archive are together. Raises JobError."""
    if file.format not in sniff.ARCHIVES:
        return open_table(file.path, file.format, file.name, ctx.limits)
    named = [(one.name, open_table(one.path, one.format, one.name, ctx.limits)) for one in tables(ctx, file)]
    # A file beside the data, a sample submission for example, has other columns.
    first = max(named, key=lambda one: len(one[1].columns) * len(one[1].head))[1]
    alike = [one for one in named if set(one[1].columns) == set(first.columns)]
    for name, other in named:
        if set(other.columns) != set(first.columns):
            ctx.leave_out(f"{name} has other columns")
            other.close()
    return alike[0][1] if len(alike) == 1 else JoinedTables(alike)


def holds_parquet(ctx: Packed, archive: File) -> bool:
    """Whether the first file of an archive that is no junk, or documents one, is Parquet: a folder of datasets."""
    with open_archive(archive.path, archive.format, ctx.limits) as opened:
        files = (entry.name.lower() for entry in opened if not entry.is_junk)
        first = next((name for name in files if not name.endswith(_PAPERS)), "")
    return first.endswith(".parquet")


def begins_with_table(head: bytes) -> bool:
    """Whether the first file of a zip, by its name, is a table."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")] if head.startswith(b"PK") else b""
    return name.decode("utf-8", "replace").lower().endswith(_TABLES + _SHEETS)


def _files(ctx: Packed, archive: Archive) -> Iterator[Entry]:
    for entry in archive:
        if isinstance(entry.problem, Problem) or not entry.name.lower().endswith(_TABLES + _SHEETS):
            if not entry.is_junk:
                ctx.leave_out(entry.name, entry.number)
        elif not entry.is_junk:
            yield entry
