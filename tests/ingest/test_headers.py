"""Whether the first row of a table names its columns."""

import io
import tarfile
import zipfile
from typing import Any

import pytest

from workers.contracts.job import FileOptions
from workers.ingest.preview import preview
from workers.ingest.readers.headers import has_header

TEXTS = [[f"a good film number {n}", "good"] if n % 2 else [f"a bad film number {n}", "bad"] for n in range(40)]
SALES = [[str(n), f"town {n}", str(n * 3.5), "yes" if n % 3 else "no"] for n in range(2, 60)]
TIMES = [["u1", "i9", str(1_700_000_000 + n)] for n in range(30)]


@pytest.mark.parametrize(
    ("first", "rows"),
    [
        (["a bad film indeed", "bad"], TEXTS),
        (["1", "2", "3.5"], [["4", "5", "6"]]),
        (["1", "town 1", "3.5", "yes"], SALES),
        (["u4", "i2", "1700000010"], TIMES),
        (
            ["1", "Toy Story (1995)", "01-Jan-1995", ""],
            [[str(n), f"Film {n}", "01-Jan-1995", ""] for n in range(2, 40)],
        ),
        (["17", "nice", "5"], [[str(n), f"word{n}", str(n % 5)] for n in range(18, 50)]),
    ],
)
def test_rows_that_are_no_header(first: list[str], rows: list[list[str]]) -> None:
    assert not has_header(first, rows)


@pytest.mark.parametrize(
    ("first", "rows"),
    [
        (["text", "label"], TEXTS),
        (["what they said", "verdict"], TEXTS),
        (["id", "town", "sum", "paid"], SALES),
        (["who", "what", "when it was"], TIMES),
        (["country", "2019", "2020"], [[f"country {n}", str(1000 + 9 * n), str(1100 + 8 * n)] for n in range(40)]),
        (["", "0", "1", "2"], [[str(n), "1", "2", "3"] for n in range(40)]),
        (["a sentence that nobody wrote twice"], [["one"], ["two"]]),
        (["only"], []),
        (["7"], [["8"], ["9"]] * 20),
    ],
)
def test_rows_that_are_one(first: list[str], rows: list[list[str]]) -> None:
    assert has_header(first, rows)


@pytest.mark.parametrize(
    ("lines", "kind", "mapping"),
    [
        ([f"i waited {n} days,{'late' if n % 2 else 'fine'}" for n in range(60)], "text", ("text", "label")),
        ([f"word{n},{'noun' if n % 2 else 'verb'}" for n in range(60)], "text", ("text", "label")),
        ([f"u{n % 7},film{n},{n % 5}" for n in range(60)], "recommendation", ("user", "item", "rating")),
        ([f"u{n % 7},film{n}" for n in range(60)], "recommendation", ("user", "item")),
        ([f"{n % 7}\t{n}\t{n % 5}\t{1_700_000_000 + n}" for n in range(60)], "recommendation", None),
    ],
)
def test_columns_without_names_are_guessed_by_what_they_hold(
    lines: list[str], kind: str, mapping: tuple[str, ...] | None
) -> None:
    seen = preview("\n".join(lines).encode() + b"\n", "data.csv")
    assert seen["header"] is False and seen["kind_guess"] == kind
    roles = mapping or ("user", "item", "rating", "timestamp")
    assert seen["mapping_guess"] == {role: f"column_{place}" for place, role in enumerate(roles, 1)}


def test_a_header_that_is_said_is_no_longer_guessed() -> None:
    data = b"good film,good\nbad film,bad\n" * 20
    assert preview(data, "x.csv", FileOptions(header=True))["columns"][0]["name"] == "good film"
    assert [len(preview(data, "x.csv", FileOptions(header=said))["columns"]) for said in (None, True, False)] == [
        2,
        2,
        2,
    ]


def test_the_first_table_of_an_archive_is_shown() -> None:
    table = b"text,label\n" + b"good film,good\nbad film,bad\n" * 5000
    for streamed in (False, True):
        out = io.BytesIO()
        with zipfile.ZipFile(Unseekable(out) if streamed else out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("README.md", "about " * 100)
            archive.writestr("__MACOSX/._train.csv", b"\0")
            archive.writestr("data/train.csv", table)
        seen = preview(out.getvalue(), "films.zip")
        assert (seen["format"], seen["rows"][0]) == ("zip", ["good film", "good"])
        assert seen["mapping_guess"] == {"text": "text", "label": "label"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("data/train.csv")
        info.size = len(table)
        tar.addfile(info, io.BytesIO(table))
    assert preview(packed.getvalue(), "films.tgz")["rows"][1] == ["bad film", "bad"]


class Unseekable(io.RawIOBase):
    """Where a zip is streamed to: sizes stand behind each file, not before it."""

    def __init__(self, out: io.BytesIO) -> None:
        self._out = out

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._out.write(data)
