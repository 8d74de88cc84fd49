"""Tell a file's format from its content; its name only settles what content leaves open. Standard library only."""

from pathlib import Path
from typing import Literal

from workers.contracts.errors import JobError
from workers.ingest import compression, encoding

Format = Literal["csv", "jsonl", "json", "sheet", "parquet", "zip", "tar", "compressed"]
ARCHIVES = ("zip", "tar")
HEAD_BYTES = 1 << 18

# How the first entry of an office document is called.
OFFICE = (b"[Content_Types].xml", b"mimetype", b"_rels/", b"docProps/", b"xl/", b"word/", b"customXml/")
OLD_OFFICE = b"\xd0\xcf\x11\xe0"
# What people upload by mistake, and what to do about it.
_STRANGERS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF", "This is a PDF.", "Export its table as CSV."),
    (b"SQLite format 3", "This is an SQLite database.", "Export the table as CSV."),
    (b"Rar!", "This is a RAR archive.", "Make a zip of it."),
    (b"7z\xbc\xaf\x27\x1c", "This is a 7z archive.", "Make a zip of it."),
    (b"ARROW1", "This is an Arrow file.", "Write it as Parquet."),
    (b"\x93NUMPY", "This is a NumPy array.", "Write it as CSV or Parquet."),
    (b"\x89PNG", "This is one image.", "Put images into class folders and zip them."),
    (b"\xff\xd8\xff", "This is one image.", "Put images into class folders and zip them."),
    (b"GIF8", "This is one image.", "Put images into class folders and zip them."),
)


def sniff(source: Path | bytes, filename: str) -> Format:
    """The format of a file, or of the bytes at its head.

    Raises JobError file_empty, format_unknown (with what the file is instead, where that can be told).
    """
    head = source[:HEAD_BYTES] if isinstance(source, bytes) else _head(source)
    if not head:
        raise JobError("file_empty")
    if head.startswith((b"PAR1", b"PARE")):
        return "parquet"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_format(head)
    if compression.is_compressed(head):
        # Images come as tar, which is read as it is unpacked; anything else is unpacked first.
        return "tar" if _is_tar(compression.head(head, 512)) else "compressed"
    if _is_tar(head):
        return "tar"
    if head.startswith(OLD_OFFICE):
        return "sheet"
    for magic, message, hint in _STRANGERS:
        if head.startswith(magic):
            raise JobError("format_unknown", message, hint=hint)
    return _text_format(head, filename)


def _head(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(HEAD_BYTES)


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _zip_format(head: bytes) -> Format:
    """Spreadsheets are zips; the first entry's name tells them. Raises JobError for other documents."""
    length = int.from_bytes(head[26:28], "little")
    first, content = head[30 : 30 + length], head[30 + length : 30 + length + 80]
    if not first.startswith(OFFICE):
        return "zip"
    is_sheet = b"opendocument.spreadsheet" in content if first == b"mimetype" else b"word/" not in head
    if not is_sheet:
        raise JobError("format_unknown", "This is a document, not a table.", hint="Save its table as CSV UTF-8.")
    return "sheet"


def _text_format(head: bytes, filename: str) -> Format:
    text = head.decode(encoding.of_head(head), "replace").lstrip("\ufeff \t\r\n\x00")
    if not text:
        raise JobError("file_empty", "The file holds nothing but blanks.")
    start = text[:200].lower()
    if start.startswith(("<!doctype html", "<html", "<?xml")):
        raise JobError("format_unknown", "This is a web page or XML file, not a table.")
    if start.startswith("{"):
        return "jsonl"
    if start.startswith("[") and text[1:].lstrip()[:1] in ("{", "]"):
        return "json"
    return "csv"
