"""Archives that were made to hurt: nothing leaves the job's folder, nothing blows up, everything is told."""

import hashlib
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest

from tests.ingest.importing import as_tar, as_zip, failure, import_file, picture, pictures

BAD_PATHS = [
    "../escape.png",
    "/absolute.png",
    "C:\\windows.png",
    "c:/drive.png",
    "cat/../../x.png",
    "..\\..\\x.png",
    "cat/a\x01b.png",
    "cat/" + "n" * 300 + ".png",
    "x/" * 600 + "deep.png",
]


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder and its hash."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("name", BAD_PATHS)
@pytest.mark.parametrize("make", [as_zip, as_tar])
def test_paths_that_leave_the_archive_are_refused_and_nothing_is_written_there(tmp_path: Path, make, name: str) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "inner"
    folder.mkdir()
    done = import_file(folder, make(pictures() | {name: picture(5)}), kind="image")
    assert [row["code"] for row in done.rejected] == ["entry_path"]
    written = {Path(path).name for path in tree(tmp_path)}
    left = {"data.parquet", "errors.csv", "findings.parquet", "looks.parquet"}
    assert written == {"spec.json", "source", "events.jsonl", *left}


def zip_with(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in pictures().items():
            archive.writestr(zipfile.ZipInfo(name), content)
        for info, content in entries:
            archive.writestr(info, content)
    return out.getvalue()


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010644, 0o140755])
def test_links_and_special_files_of_a_zip_are_refused(tmp_path: Path, mode: int) -> None:
    info = zipfile.ZipInfo("cat/link.png")
    info.create_system = 3
    info.external_attr = mode << 16
    done = import_file(tmp_path, zip_with([(info, b"/etc/passwd")]), kind="image")
    assert [row["code"] for row in done.rejected] == ["entry_link"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_special_files_of_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        odd = tarfile.TarInfo("cat/link.png")
        odd.type, odd.linkname = kind, "../../../etc/passwd"
        archive.addfile(odd)
        for name, content in pictures().items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    done = import_file(tmp_path, out.getvalue(), kind="image")
    assert [(row["line"], row["code"]) for row in done.rejected] == [("1", "entry_link")]
    assert done.result.rows == 20


def test_the_second_entry_of_a_path_is_refused(tmp_path: Path) -> None:
    again = [(zipfile.ZipInfo(name), picture(500 + n)) for n, name in enumerate(["cat/1.png", "./cat//2.png"])]
    done = import_file(tmp_path, zip_with(again), kind="image")
    assert [(row["code"], row["name"]) for row in done.rejected] == [
        ("entry_duplicate", "cat/1.png"),
        ("entry_duplicate", "cat/2.png"),
    ]


def encrypted(source: bytes, names: set[str] | None = None) -> bytes:
    """The zip with the encryption flag set in both headers of some entries, or of all."""
    data = bytearray(source)
    with zipfile.ZipFile(io.BytesIO(source)) as archive:
        chosen = [info for info in archive.infolist() if names is None or info.filename in names]
    place = source.rfind(b"PK\x05\x06")
    at = int.from_bytes(source[place + 16 : place + 20], "little")
    for info in chosen:
        data[info.header_offset + 6] |= 1
    while data[at : at + 4] == b"PK\x01\x02":
        name, extra, comment = struct.unpack_from("<3H", data, at + 28)
        if names is None or data[at + 46 : at + 46 + name].decode() in names:
            data[at + 8] |= 1
        at += 46 + name + extra + comment
    return bytes(data)


def test_a_zip_with_a_password_is_refused_and_single_locked_entries_are_told(tmp_path: Path) -> None:
    assert failure(tmp_path, encrypted(as_zip(pictures())), kind="image").code == "archive_encrypted"
    done = import_file(tmp_path, encrypted(as_zip(pictures()), {"cat/3.png"}), kind="image")
    assert [(row["code"], row["name"]) for row in done.rejected] == [("entry_encrypted", "cat/3.png")]


def test_an_honest_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    files = pictures() | {f"cat/{n}.bmp": bytes(8 * 2**20) for n in range(12)}
    error = failure(tmp_path, as_zip(files), kind="image")
    assert error.code == "archive_bomb"


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_tar_bomb_is_refused_while_it_unpacks(tmp_path: Path, mode: str) -> None:
    error = failure(tmp_path, as_tar({"cat/zeros.png": bytes(100 * 2**20)}, mode), kind="image")
    assert error.code == "archive_bomb"


def lie(source: bytes, name: bytes, claimed: int) -> bytes:
    """The zip with another unpacked size of one entry in both headers."""
    data = bytearray(source)
    for magic, size_at, name_at in ((b"PK\x03\x04", 22, 30), (b"PK\x01\x02", 24, 46)):
        place = data.find(magic)
        while data[place + name_at : place + name_at + len(name)] != name:
            place = data.find(magic, place + 4)
        data[place + size_at : place + size_at + 4] = claimed.to_bytes(4, "little")
    return bytes(data)


def test_an_entry_that_unpacks_to_more_than_it_says_is_caught_while_unpacking(tmp_path: Path) -> None:
    source = as_zip({"cat/0bomb.png": bytes(50 * 2**20)} | pictures())
    error = failure(tmp_path, lie(source, b"cat/0bomb.png", 1000), kind="image")
    assert error.code == "archive_inconsistent"


def test_too_many_entries_and_too_much_content_are_refused(tmp_path: Path) -> None:
    for make in (as_zip, as_tar):
        source = make(pictures())
        assert failure(tmp_path, source, kind="image", limits={"max_archive_entries": 19}).code == "archive_too_large"
        assert failure(tmp_path, source, kind="image", limits={"max_unpacked_bytes": 700}).code == "archive_too_large"


def overlapping() -> bytes:
    """Two directory entries on one local entry, the trick of bombs without recursion."""
    source = as_zip({"cat/1.png": picture(1)})
    end = source.rfind(b"PK\x05\x06")
    start = source.find(b"PK\x01\x02")
    central = source[start:end]
    tail = bytearray(source[end:])
    tail[8:12] = struct.pack("<2H", 2, 2)
    tail[12:16] = (2 * len(central)).to_bytes(4, "little")
    return source[:start] + central * 2 + bytes(tail)


def two_ends() -> bytes:
    """A second archive in the comment of the first: which one is read depends on the reader."""
    source = bytearray(as_zip(pictures()))
    other = as_zip({"dog/other.png": picture(3)})
    source[-2:] = len(other).to_bytes(2, "little")
    return bytes(source) + other


def prefixed() -> bytes:
    return b"PK\x03\x04" + b"\0" * 60 + as_zip(pictures())


def headers_differ() -> bytes:
    source = bytearray(as_zip(pictures()))
    source[18:22] = (5).to_bytes(4, "little")
    return bytes(source)


def names_differ() -> bytes:
    return as_zip(pictures()).replace(b"cat/0.png", b"cow/0.png", 1)


def zip64_elsewhere() -> bytes:
    source = as_zip(pictures())
    end = source.rfind(b"PK\x05\x06")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 3, 1)
    return source[:end] + locator + source[end:]


@pytest.mark.parametrize("make", [overlapping, two_ends, prefixed, headers_differ, names_differ, zip64_elsewhere])
def test_a_zip_that_contradicts_itself_is_refused(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    assert failure(tmp_path, make(), kind="image").code == "archive_inconsistent"


def test_a_zip64_archive_of_an_ordinary_tool_is_read(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in pictures().items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as stream:
                stream.write(content)
    assert import_file(tmp_path, out.getvalue(), kind="image").result.rows == 20


def test_a_zip_written_to_a_pipe_is_read(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data) -> int:  # type: ignore[no-untyped-def,override]
            self.data += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[type-var]
        for name, content in pictures().items():
            archive.writestr(name, content)
    assert import_file(tmp_path, bytes(pipe.data), kind="image").result.rows == 20


def test_a_damaged_entry_costs_itself_only(tmp_path: Path) -> None:
    files = pictures()
    source = bytearray(as_zip(files, zipfile.ZIP_STORED))
    place = source.find(files["cat/4.png"])
    source[place + 20] ^= 1
    done = import_file(tmp_path, bytes(source), kind="image")
    assert [(row["code"], row["name"]) for row in done.rejected] == [("entry_unreadable", "cat/4.png")]


@pytest.mark.parametrize(
    "source",
    [
        as_zip(pictures())[:-30],
        as_tar(pictures())[:-600],
        as_tar(pictures(), "w")[:3000],
        as_tar(pictures(), "w").replace(b"ustar", b"ustax", 1)[:512] + b"x" * 512,
        b"\x1f\x8b\x08\0garbage",
        b"BZh9garbage",
        b"\xfd7zXZ\x00garbage",
        zlib.compress(b"x"),
    ],
    ids=lambda value: str(len(value)),
)
def test_damaged_archives_are_unreadable(tmp_path: Path, source: bytes) -> None:
    assert failure(tmp_path, source, kind="image").code in ("archive_unreadable", "format_unknown")


def test_archives_within_archives_are_not_opened(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_zip(pictures() | {"cat/inner.zip": as_zip(pictures())}), kind="image")
    assert [row["code"] for row in done.rejected] == ["image_format"]


def test_flipped_bytes_never_crash_the_readers(tmp_path: Path) -> None:
    from workers.contracts.errors import JobError

    for source in (as_zip(pictures(each=5)), as_tar(pictures(each=5), "w")):
        for place in range(0, len(source), 61):
            damaged = bytearray(source)
            damaged[place] ^= 0x81
            try:
                import_file(tmp_path, bytes(damaged), kind="image")
            except JobError as error:
                assert error.code.startswith("archive_") or error.code in ("format_unknown", "no_rows", "too_few_rows")
