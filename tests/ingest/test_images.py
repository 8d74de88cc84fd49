"""Archives of class folders: every usual layout, every allowed format, every bad image told."""

import io
import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.ingest.importing import as_tar, as_zip, failure, import_file, picture, pictures
from workers.ingest.images import decode
from workers.ingest.records import Problem


@pytest.mark.parametrize(
    "prefix", ["", "photos/", "a/b/", "./", "photos\\"], ids=["plain", "top", "two tops", "dot", "backslash"]
)
def test_class_folders_are_found_below_folders_that_all_share(tmp_path: Path, prefix: str) -> None:
    done = import_file(tmp_path, as_zip(pictures(prefix=prefix)), kind="image", filename="photos.zip")
    assert done.result.classes == {"cat": 10, "dog": 10}
    assert done.result.rejected == 0
    assert all(row["label"] in row["name"] for row in done.rows)


@pytest.mark.parametrize(
    "names", [("train", "validation", "test"), ("Training", "val", "TEST"), ("train", "dev", "test")]
)
@pytest.mark.parametrize("top", ["", "data/"])
def test_split_folders_are_kept(tmp_path: Path, names: tuple[str, ...], top: str) -> None:
    files = {
        f"{top}{name}/{label}/{n}.png": picture(100_000 * place + 1000 * kind + n)
        for place, name in enumerate(names)
        for kind, label in enumerate(("cat", "dog"))
        for n in range(5)
    }
    done = import_file(tmp_path, as_zip(files), kind="image")
    assert done.result.splits == {"train": 10, "validation": 10, "test": 10}
    assert done.result.classes == {"cat": 15, "dog": 15}


def test_validation_is_carved_out_of_the_train_folder(tmp_path: Path) -> None:
    files = pictures(each=60, prefix="train/") | {
        f"test/{label}/{n}.png": picture(10**6 + n * 7 + len(label)) for label in ("cat", "puppy") for n in range(9)
    }
    done = import_file(tmp_path, as_zip(files), kind="image")
    assert done.result.splits["test"] == 18
    assert 2 <= done.result.splits["validation"] <= 30
    assert done.result.profile["split"] == {"by": "file", "carved": ["validation"]}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tars_of_every_compression_give_the_same_rows_as_a_zip(tmp_path: Path, mode: str) -> None:
    files = pictures()
    zipped = import_file(tmp_path, as_zip(files), kind="image")
    tarred = import_file(tmp_path, as_tar(files, mode), kind="image", filename="photos.tar")
    assert tarred.result.content_hash == zipped.result.content_hash


@pytest.mark.parametrize("format", [0, 1, 2], ids=["ustar", "gnu", "pax"])
def test_long_and_foreign_names_survive_every_kind_of_tar(tmp_path: Path, format: int) -> None:
    files = {
        f"{'deep' * 20}/{label}/{n}.png": content
        for label in ("cat", "dog")
        for n, content in enumerate(pictures().values())
    }
    if format:
        files |= {f"{'deep' * 20}/猫{'x' * 60}/{n}.png": picture(n) for n in range(12)}
    done = import_file(tmp_path, as_tar(files, format=format), kind="image")
    assert done.result.rejected == 0
    assert len(done.result.classes) == (3 if format else 2)


FORMATS = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}


@pytest.mark.parametrize("format", FORMATS)
def test_images_are_told_by_content_whatever_their_name_and_stored_as_they_came(tmp_path: Path, format: str) -> None:
    files = pictures() | {"cat/misnamed.txt": picture(77, format, (20, 30))}
    done = import_file(tmp_path, as_zip(files), kind="image")
    row = next(row for row in done.rows if row["name"] == "cat/misnamed.txt")
    assert (row["format"], row["width"], row["height"]) == (FORMATS[format], 20, 30)
    assert row["image"] == files["cat/misnamed.txt"]


def test_the_first_frame_of_an_animation_is_enough(tmp_path: Path) -> None:
    out = io.BytesIO()
    frames = [Image.new("P", (5, 5), n) for n in range(200)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    done = import_file(tmp_path, as_zip(pictures() | {"cat/moving.gif": out.getvalue()}), kind="image")
    assert done.result.rejected == 0


def huge_png() -> bytes:
    """A valid PNG of 60 million pixels in a few kilobytes."""
    out = io.BytesIO()
    Image.new("1", (10_000, 6_000)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_an_image_that_ends_early_is_told_as_such(tmp_path: Path, format: str) -> None:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(out, format)
    whole = out.getvalue()
    done = import_file(tmp_path, as_zip(pictures() | {"cat/cut": whole[: len(whole) * 6 // 10]}), kind="image")
    assert [(row["line"], row["code"], row["name"]) for row in done.rejected] == [("21", "image_truncated", "cat/cut")]
    assert done.result.rows == 20


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "image_truncated"),
        (b"just text", "image_format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image_format"),
        (b"%PDF-1.7", "image_format"),
        (b"II*\0\x08\0\0\0", "image_format"),
        (b"8BPS\0\x01", "image_format"),
        (b"SIMPLE  =                    T", "image_format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_format"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "image_unreadable"),
        (picture(5)[:40] + b"XXXX" + picture(5)[44:], "image_unreadable"),
        (b"BM" + b"\xff" * 60, "image_unreadable"),
        (huge_png(), "image_too_large"),
        (picture(9, "BMP", (300, 300)), "image_too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_good_image_costs_its_own_entry_only(tmp_path: Path, content: bytes, code: str) -> None:
    files = pictures() | {"cat/odd.png": content}
    done = import_file(tmp_path, as_zip(files), kind="image", limits={"max_image_bytes": 200_000})
    assert [(row["code"], row["name"]) for row in done.rejected] == [(code, "cat/odd.png")]


def test_what_a_file_is_instead_of_an_image_is_said_in_words(tmp_path: Path) -> None:
    odd = {"cat/IMG_1.HEIC": b"\0\0\0\x18ftypheic\0\0\0\0", "cat/notes.txt": b"to do\n", "cat/raw": b"\1\2\xff"}
    done = import_file(tmp_path, as_zip(pictures() | odd), kind="image")
    told = [example["value"] for example in done.issue("image_format")["examples"]]
    assert told == ["cat/IMG_1.HEIC: HEIC", "cat/notes.txt: text", "cat/raw: 01 02 ff"]


def test_junk_of_operating_systems_is_left_out_and_told(tmp_path: Path) -> None:
    junk = {"__MACOSX/cat/._1.png": b"x", "cat/.DS_Store": b"x", "dog/Thumbs.db": b"x", "cat/._2.png": b"x"}
    done = import_file(tmp_path, as_zip(pictures() | junk), kind="image")
    assert (done.result.rows, done.result.rejected) == (20, 0)
    assert (done.issue("entry_ignored")["severity"], done.issue("entry_ignored")["count"]) == ("info", 4)


def test_images_beside_the_class_folders_are_told(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_zip(pictures() | {"stray.png": picture(99)}), kind="image")
    assert [(row["code"], row["name"]) for row in done.rejected] == [("entry_no_class", "stray.png")]
    split = pictures(prefix="train/") | {"extra/cat/1.png": picture(98), "train/loose.png": picture(97)}
    done = import_file(tmp_path, as_zip(split), kind="image")
    assert {row["name"] for row in done.rejected} == {"extra/cat/1.png", "train/loose.png"}


def test_class_names_are_the_same_in_either_unicode_form(tmp_path: Path) -> None:
    files = pictures(("café", "dog")) | {unicodedata.normalize("NFD", "café") + "/other.png": picture(55)}
    assert import_file(tmp_path, as_zip(files), kind="image").result.classes == {"café": 11, "dog": 10}


def test_an_archive_without_class_folders_says_so(tmp_path: Path) -> None:
    flat = {f"{n}.png": picture(n) for n in range(20)}
    assert failure(tmp_path, as_zip(flat), kind="image").code == "archive_no_classes"


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    """A JPEG large enough to be decoded smaller than it is."""
    out = io.BytesIO()
    noise = Image.effect_noise((40, 30), 90).convert("RGB")
    Image.merge("RGB", [noise.getchannel(0).rotate(turn) for turn in (0, 90, 180)]).resize((400, 300)).convert(
        mode
    ).save(out, "JPEG", **options)
    return out.getvalue()


def is_whole(data: bytes) -> bool:
    """Whether every pixel of an image can be decoded."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError):
        return False
    return True


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"mode": "L"}, {"mode": "CMYK"}, {"subsampling": 0}])
def test_a_jpeg_is_damaged_if_a_single_pixel_of_it_is(options: dict[str, Any]) -> None:
    whole = jpeg(**options)
    draw = random.Random(0)
    places = [draw.randrange(len(whole) // 3, len(whole)) for _ in range(40)]
    damaged = [whole[:place] for place in places]
    damaged += [whole[:place] + bytes([draw.randrange(256)]) + whole[place + 1 :] for place in places]
    told = [isinstance(decode(data, 10**6), Problem) for data in (whole, *damaged)]
    assert told == [not is_whole(data) for data in (whole, *damaged)]
    assert not told[0] and sum(told) >= 40
