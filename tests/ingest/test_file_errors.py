"""Files that cannot be used at all: each reason has its code, its evidence and its hint."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.importing import as_csv, as_zip, failure, picture, pictures, reviews

TABLE = as_csv(reviews()).encode()


def office(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("[Content_Types].xml", *names):
            archive.writestr(name, "<Types/>")
    return out.getvalue()


@pytest.mark.parametrize(
    ("source", "kind", "code"),
    [
        (b"", "text", "file_empty"),
        (b"\xef\xbb\xbf", "text", "file_empty"),
        (b" \n\r\n\t ", "text", "file_empty"),
        (b"", "image", "file_empty"),
        (b"text,label\n", "text", "no_rows"),
        (b"text,label\n,\n,\n", "text", "no_rows"),
        (b"user,item\n", "recommendation", "no_rows"),
        (b"user,item\n,\n", "recommendation", "no_rows"),
        (as_csv([(text, "good") for text, _ in reviews()]).encode(), "text", "one_class_only"),
        (as_zip(pictures(("cat",))), "image", "one_class_only"),
        (as_csv(reviews(9)).encode(), "text", "too_few_rows"),
        (b"user,item\n" + b"u,i1\nu,i2\nu,i3\n" * 9, "recommendation", "too_few_rows"),
        (as_zip(pictures(each=4)), "image", "too_few_rows"),
        (as_csv([(str(n) + " x", f"label {n}") for n in range(10_001)]).encode(), "text", "too_many_classes"),
        (office(), "text", "file_unreadable"),
        (office("word/document.xml"), "text", "format_unknown"),
        (b"%PDF-1.7\n", "text", "format_unknown"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "text", "file_unreadable"),
        (b"SQLite format 3\0" + b"\0" * 500, "text", "format_unknown"),
        (b"<!DOCTYPE html><html></html>", "text", "format_unknown"),
        (b"[{]}]", "text", "file_unreadable"),
        (bytes(range(256)) * 40, "text", "format_unknown"),
        (picture(1), "image", "format_unknown"),
        (TABLE, "image", "format_unknown"),
        (as_zip(pictures()), "text", "format_unknown"),
        (as_zip({}), "image", "no_rows"),
        (as_zip({"cat/a.txt": b"x"}), "image", "no_rows"),
        ("文".encode("shift_jis") * 50 + b",\n", "text", "encoding_unknown"),
        (b'{"text": 1}\n'.replace(b"}", b""), "text", "file_unreadable"),
        (b'"text,label\na,b\n', "text", "file_unreadable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_reason_has_its_code(tmp_path: Path, source: bytes, kind: str, code: str) -> None:
    error = failure(tmp_path, source, kind=kind)
    assert error.code == code
    assert error.message
    assert error.hint


@pytest.mark.parametrize("kind", ["text", "recommendation"])
def test_more_rows_than_allowed_are_refused(tmp_path: Path, kind: str) -> None:
    mapping: dict[str, Any] = {} if kind == "text" else {"user": "text", "item": "label"}
    error = failure(tmp_path, TABLE, kind=kind, mapping=mapping, limits={"max_rows": 39})
    assert error.code == "too_many_rows"


def test_a_file_without_a_usable_row_says_what_is_wrong_with_most(tmp_path: Path) -> None:
    error = failure(tmp_path, "text,label\n" + "a,\n" * 3 + ",b\n")
    assert error.evidence == "3 × label_missing: The label is empty., first in line 2"
