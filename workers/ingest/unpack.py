"""Files that come packed: compressed ones, and archives of tables. What is in them is staged and then read as it is."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from workers.contracts.errors import JobError
from workers.contracts.job import GUESSED, FileOptions, IngestLimits
from workers.ingest import compression, sniff
from workers.ingest.archives import open_archive
from workers.ingest.archives.entries import Archive, Entry, Ledger
from workers.ingest.context import ProgressMeter
from workers.ingest.image_lists import IMAGE_ENDINGS
from workers.ingest.readers import open_table
from workers.ingest.readers.joined import JoinedTables
from workers.ingest.records import Problem, Table, printable

_CHUNK = 1 << 18
# What an archive's files are read as tables by; others are told and left out.
_TABLES = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".jsonl", ".ndjson", ".json", ".parquet")
_SHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_PAPERS = (".md", ".json", ".txt", ".gitattributes", ".yaml", ".yml")
# An archive of more files than these is not one of tables.
_MAX_TABLES = 100


class Packed(Protocol):
    """A job whose file may be packed: an import, a batch prediction."""

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


def unpacked(ctx: Packed, source: Path, filename: str) -> File:
    """A file to import; where it came compressed, what it holds. Raises JobError."""
    file = File(source, filename, sniff.sniff(source, filename))
    if file.format != "compressed":
        return file
    target = ctx.staging / f"unpacked-{source.name}"
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
    left_out: list[str] = []
    with open_archive(archive.path, archive.format, ctx.limits) as opened:
        for entry in _files(ctx, opened, left_out):
            if found == _MAX_TABLES:
                raise JobError("archive_too_large", f"The archive has more than {_MAX_TABLES} tables.")
            target = ctx.staging / f"table-{found}-of-{archive.path.name}"
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
        refuse_archives(left_out)
        hint = "Upload the table itself: CSV, TSV, Excel, JSON or Parquet, as it is or compressed."
        raise JobError("format_unknown", "The archive has no table in it.", hint=hint)


def open_file(ctx: Packed, file: File, options: FileOptions = GUESSED) -> Table:
    """The table that a file is, or that the tables in an archive are together. Raises JobError."""
    named = open_tables(ctx, file, options)
    return named[0][1] if len(named) == 1 else JoinedTables(named)


def open_tables(ctx: Packed, file: File, options: FileOptions = GUESSED) -> list[tuple[str, Table]]:
    """The table that a file is, or those of the same columns in an archive, with their names. Raises JobError."""
    files = tables(ctx, file) if file.format in sniff.ARCHIVES else [file]
    named = [(one.name, open_table(one.path, one.format, one.name, ctx.limits, options)) for one in files]
    # A file beside the data, a sample submission for example, has other columns.
    first = max(named, key=lambda one: len(one[1].columns) * len(one[1].head))[1]
    for name, other in named:
        if set(other.columns) != set(first.columns):
            ctx.leave_out(f"{name} has other columns")
            other.close()
    return [one for one in named if set(one[1].columns) == set(first.columns)]


def holds_parquet(ctx: Packed, archive: File) -> bool:
    """Whether the first file of an archive that is no junk, or documents one, is Parquet: a folder of datasets."""
    with open_archive(archive.path, archive.format, ctx.limits) as opened:
        files = (entry.name.lower() for entry in opened if not entry.is_junk)
        first = next((name for name in files if not name.endswith(_PAPERS)), "")
    return first.endswith(".parquet")


def first_table(head: bytes, format: sniff.Format) -> tuple[str, bytes] | None:
    """Name and beginning of the first table in the head of an archive; None where it cannot be read from there, or
    where the files are images, beside which tables are lists or notes. Raises JobError where they are archives."""
    heads = _heads_in_zip(head) if format == "zip" else _heads_in_tar(compression.head(head, sniff.HEAD_BYTES))
    entries = [one for one in heads if not (_is_junk(one[0]) or one[0].endswith("/"))]
    refuse_archives([name for name, _ in entries])
    tables = [(name, content) for name, content in entries if content and name.lower().endswith(_TABLES)]
    images = sum(name.lower().endswith(IMAGE_ENDINGS) for name, _ in entries)
    return tables[0] if tables and images <= len(tables) else None


def _is_junk(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".") or "__MACOSX" in name


def refuse_archives(names: list[str]) -> None:
    """An archive of nothing but archives holds no data itself. Raises JobError format_unknown."""
    if names and all(name.lower().endswith(_ARCHIVES) for name in names):
        hint = "Unpack them, and zip what was in them once."
        raise JobError("format_unknown", "There are only archives in the archive.", hint=hint, evidence=names[0][:200])


def _heads_in_zip(head: bytes) -> Iterator[tuple[str, bytes]]:
    """The entries of a zip as far as they lie in its head. Nothing but where the next one begins is taken for true."""
    at = 0
    while head[at : at + 4] == b"PK\x03\x04" and at + 30 <= len(head):
        flags, method = (int.from_bytes(head[at + place : at + place + 2], "little") for place in (6, 8))
        size = int.from_bytes(head[at + 18 : at + 22], "little")
        name, extra = (int.from_bytes(head[at + place : at + place + 2], "little") for place in (26, 28))
        start = at + 30 + name + extra
        body, end = head[start : start + size], start + size
        if method == 8 and not flags & 1:
            unpacker = zlib.decompressobj(-15)
            try:
                content = unpacker.decompress(head[start:], 1 << 18)
            except zlib.error:
                return
            if flags & 8:
                end = len(head) - len(unpacker.unused_data) + 16 if unpacker.eof else len(head)
        else:
            content = body if method == 0 and not flags & 9 else b""
        yield head[at + 30 : at + 30 + name].decode("utf-8", "replace"), content
        at = end


def _heads_in_tar(head: bytes) -> Iterator[tuple[str, bytes]]:
    """The plain files of a tar as far as they lie in its head."""
    at = 0
    while head[at + 257 : at + 262] == b"ustar":
        digits = head[at + 124 : at + 136].strip(b"\0 ")
        size = int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else 0
        if head[at + 156 : at + 157] in (b"0", b"\0"):
            name = head[at : at + 100].partition(b"\0")[0].decode("utf-8", "replace")
            yield name, head[at + 512 : at + 512 + size]
        at += 512 + -(-size // 512) * 512


def begins_with_table(head: bytes) -> bool:
    """Whether the first file of a zip, by its name, is a table."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")] if head.startswith(b"PK") else b""
    return name.decode("utf-8", "replace").lower().endswith(_TABLES + _SHEETS)


def _files(ctx: Packed, archive: Archive, left_out: list[str]) -> Iterator[Entry]:
    for entry in archive:
        if isinstance(entry.problem, Problem) or not entry.name.lower().endswith(_TABLES + _SHEETS):
            if not entry.is_junk:
                left_out.append(entry.name)
                ctx.leave_out(entry.name, entry.number)
        elif not entry.is_junk:
            yield entry
