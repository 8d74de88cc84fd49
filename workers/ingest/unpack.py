"""Files that come packed: compressed ones, and archives of tables. What is in them is staged and then read as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from workers.contracts.errors import JobError
from workers.ingest import compression, sniff
from workers.ingest.archives import open_archive
from workers.ingest.archives.entries import Archive, Entry, Ledger
from workers.ingest.context import Import
from workers.ingest.records import Problem, printable

_CHUNK = 1 << 18
# What an archive's files are read as tables by; others are told and left out.
_TABLES = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".jsonl", ".ndjson", ".json", ".parquet")
_SHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_PAPERS = (".md", ".json", ".txt", ".gitattributes", ".yaml", ".yml")
# An archive of more files than these is not one of tables.
_MAX_TABLES = 100


class File(NamedTuple):
    """A file to import: where it is, what its owner calls it, its format."""

    path: Path
    name: str
    format: sniff.Format


def unpacked(ctx: Import) -> File:
    """The file to import; where it came compressed, what it holds. Raises JobError."""
    file = File(ctx.source, ctx.spec.filename, sniff.sniff(ctx.source, ctx.spec.filename))
    if file.format != "compressed":
        return file
    target = ctx.staging / "unpacked"
    _decompress(ctx, file.path, target)
    name = compression.inner_name(file.name)
    inner = sniff.sniff(target, name)
    if inner == "compressed":
        raise JobError("format_unknown", "The file is compressed twice.", hint="Unpack it once.")
    return File(target, name, inner)


def _decompress(ctx: Import, source: Path, target: Path) -> None:
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


def tables(ctx: Import, archive: File) -> Iterator[File]:
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


def holds_parquet(ctx: Import, archive: File) -> bool:
    """Whether the first file of an archive that is no junk, or documents one, is Parquet: a folder of datasets."""
    with open_archive(archive.path, archive.format, ctx.limits) as opened:
        files = (entry.name.lower() for entry in opened if not entry.is_junk)
        first = next((name for name in files if not name.endswith(_PAPERS)), "")
    return first.endswith(".parquet")


def begins_with_table(head: bytes) -> bool:
    """Whether the first file of a zip, by its name, is a table."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")] if head.startswith(b"PK") else b""
    return name.decode("utf-8", "replace").lower().endswith(_TABLES + _SHEETS)


def _files(ctx: Import, archive: Archive) -> Iterator[Entry]:
    for entry in archive:
        if isinstance(entry.problem, Problem) or not entry.name.lower().endswith(_TABLES + _SHEETS):
            if not entry.is_junk:
                ctx.issues.add("file_left_out", "warning", line=entry.number, value=entry.name)
        elif not entry.is_junk:
            yield entry
