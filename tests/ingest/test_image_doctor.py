"""What the data doctor tells of images: each finding has one that shows it; and images that are nearly the same."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.ingest.importing import Outcome, as_zip, import_file

Files = dict[str, bytes]


def photo(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Coloured clouds, for each seed others."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def saved(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def photos(each: int = 10) -> Files:
    return {f"{label}/{n}.jpg": saved(photo(100 * place + n)) for place, label in enumerate("ab") for n in range(each)}


def imported(tmp_path: Path, more: Files) -> Outcome:
    return import_file(tmp_path, as_zip(photos() | more), kind="image", filename="photos.zip")


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(photo(1000), exif=exif)


def animated(format: str) -> bytes:
    frames = [photo(1000 + n) for n in range(3)]
    return saved(frames[0], format, save_all=True, append_images=frames[1:])


ODD: dict[str, tuple[str, bytes]] = {
    "tiny": ("image_tiny", saved(photo(1000, (40, 12)), "PNG")),
    "huge": ("image_huge", saved(photo(1000, (6100, 2000)), quality=20)),
    "stretched": ("image_stretched", saved(photo(1000, (500, 100)))),
    "blank": ("image_blank", saved(Image.new("RGB", (50, 50), (250, 200, 100)))),
    "nearly blank": ("image_blank", saved(Image.effect_noise((50, 50), 0.5).convert("RGB"), "PNG")),
    "transparent": ("image_blank", saved(Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "PNG")),
    "gif": ("image_animated", animated("GIF")),
    "webp": ("image_animated", animated("WEBP")),
    "png": ("image_animated", animated("PNG")),
    "cmyk": ("image_cmyk", saved(photo(1000).convert("CMYK"))),
    "rotated": ("image_rotated", rotated()),
    "grey": ("image_grey", saved(photo(1000).convert("L").convert("RGB"))),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_image_is_told_with_its_row_and_kept(tmp_path: Path, name: str) -> None:
    code, data = ODD[name]
    done = imported(tmp_path, {"b/odd": data})
    assert done.findings == {code: [20]}
    assert done.issue(code)["examples"][0]["value"].startswith("b/odd, ")
    assert done.rows[20]["image"] == data


@pytest.mark.parametrize(
    "data",
    [
        saved(photo(1000)),
        saved(photo(1000).convert("L")),
        saved(photo(1000).convert("P"), "PNG"),
        saved(photo(1000).convert("RGBA"), "PNG"),
        saved(photo(1000).convert("1"), "PNG"),
        saved(photo(1000), "WEBP"),
        saved(photo(1000), "BMP"),
        saved(Image.fromarray(np.asarray(photo(1000).convert("L")).astype(np.uint16) * 256), "PNG"),
    ],
    ids=["jpeg", "grey", "palette", "transparency", "one bit", "webp", "bmp", "16 bits"],
)
def test_ordinary_images_have_no_findings(tmp_path: Path, data: bytes) -> None:
    assert imported(tmp_path, {"b/fine": data}).result.issues == []


def test_a_page_with_one_word_on_it_is_not_blank(tmp_path: Path) -> None:
    page = Image.new("RGB", (600, 800), "white")
    page.paste((0, 0, 0), (300, 400, 320, 404))
    page.paste((200, 0, 0), (100, 100, 120, 104))
    assert imported(tmp_path, {"b/page.png": saved(page, "PNG")}).result.issues == []


def test_a_class_of_grey_and_coloured_images_is_told(tmp_path: Path) -> None:
    grey = {f"b/grey{n}.jpg": saved(photo(2000 + n).convert("L")) for n in range(4)}
    issue = imported(tmp_path, grey).issue("image_grey_mixed")
    assert [example["value"] for example in issue["examples"]] == ["b: 4 grey, 10 in colour"]


def test_images_that_are_nearly_the_same_are_one_group_in_one_split(tmp_path: Path) -> None:
    originals = [photo(n) for n in range(6)]
    changed = [
        originals[0].resize((90, 68)),
        ImageEnhance.Brightness(originals[1]).enhance(1.1),
        originals[2].convert("L"),
        ImageEnhance.Contrast(originals[3]).enhance(0.8),
    ]
    copies = {f"a/copy{n}.jpg": saved(image, quality=50) for n, image in enumerate(changed)}
    other_class = {"b/copy.png": saved(originals[4], "PNG")}
    done = imported(tmp_path, copies | other_class)
    assert done.findings["near_duplicate"] == [20, 21, 22, 23, 24]
    assert done.findings["near_duplicate_conflict"] == [4, 24]
    assert "near_duplicate_across_splits" not in done.findings
    assert done.issue("near_duplicate")["examples"][0]["value"] == "like line 1: a/copy0.jpg"
    groups = done.split_of("group")
    groups.pop(None)
    assert len(groups) == 5 and all(len(splits) == 1 for splits in groups.values())


def test_images_that_only_resemble_each_other_are_no_group(tmp_path: Path) -> None:
    first = photo(0)
    turned = first.transpose(Image.Transpose.ROTATE_90)
    flipped = first.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    longer = first.resize((320, 120))
    blank = {f"b/blank{n}.png": saved(Image.new("RGB", (40 + n, 40), (n, 9, 9)), "PNG") for n in range(3)}
    more = {f"b/{n}.png": saved(image, "PNG") for n, image in zip("xyz", (turned, flipped, longer), strict=True)}
    assert imported(tmp_path, more | blank).codes() == {"image_blank"}


def test_a_mirror_image_is_nearly_the_same_where_its_label_is(tmp_path: Path) -> None:
    flipped = [saved(photo(n).resize((100, 75)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for n in range(4)]
    done = imported(tmp_path, {f"a/{n}-flipped.jpg": data for n, data in enumerate(flipped)})
    assert done.findings == {"near_duplicate": [20, 21, 22, 23]}
    groups = [{row["name"] for row in done.rows if row["group"] == group} for group in done.split_of("group") if group]
    assert sorted(map(sorted, groups)) == [[f"a/{n}-flipped.jpg", f"a/{n}.jpg"] for n in range(4)]
    assert all(len(splits) == 1 for group, splits in done.split_of("group").items() if group)
    # Where labels differ, left and right may be what they tell.
    other = imported(tmp_path, {f"b/{n}-flipped.jpg": data for n, data in enumerate(flipped)})
    assert other.findings == {}


def test_a_copy_in_test_is_told_where_folders_split(tmp_path: Path) -> None:
    files = {
        f"{split}/{label}/{n}.jpg": saved(photo(1000 * place + 100 * kind + n))
        for place, split in enumerate(("train", "val", "test"))
        for kind, label in enumerate("ab")
        for n in range(4)
    }
    files["test/a/copy.jpg"] = saved(photo(0), quality=40)
    done = import_file(tmp_path, as_zip(files), kind="image")
    assert done.findings == {"near_duplicate": [24], "near_duplicate_across_splits": [0]}
