"""Odd raw inputs that people do send: what the certificate looks at beside the test rows."""

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image


class EdgeCase(NamedTuple):
    """A raw input, as a client would send it. `refused`: it must not be answered."""

    name: str
    raw: Any
    refused: bool = False


def text_cases() -> list[EdgeCase]:
    """For whatever reads texts."""
    return [
        EdgeCase("empty text", "", refused=True),
        EdgeCase("white space alone", " \n\t\u00a0 ", refused=True),
        EdgeCase("one character", "a"),
        EdgeCase("emoji", "🙂👩‍👩‍👧‍👦🇩🇪❤️"),
        EdgeCase("10,000 characters", "word after word " * 625),
        EdgeCase("10,000 characters without a space", "x" * 10_000),
        EdgeCase("right to left", "שלום עולם مرحبا بالعالم 123"),
        EdgeCase("Chinese, Japanese and Korean", "你好世界。こんにちは世界。안녕하세요"),
        EdgeCase("combining and invisible characters", "e\u0301\u200b\u200d\ufeffn\u0303\u00ad"),
        EdgeCase("control characters", "a\x00b\x07c\x1bd"),
        EdgeCase("half a surrogate pair", "broken \ud83d emoji"),
        EdgeCase("markup", "<b>&amp; \"quoted\" 'text'</b> \\ %s {0}"),
    ]


def pair_cases() -> list[EdgeCase]:
    """For whatever reads pairs of texts: each odd text as the first, as the second and as both, and halves of pairs."""
    cases = [
        EdgeCase(
            f"{case.name}, {place}",
            {"text": "A text.", "text_pair": "A text.", **dict.fromkeys(names, case.raw)},
            case.refused,
        )
        for case in text_cases()
        for place, names in (("first", ["text"]), ("second", ["text_pair"]), ("both", ["text", "text_pair"]))
    ]
    return [
        *cases,
        EdgeCase("a text alone", "A text.", refused=True),
        EdgeCase("the first text alone", {"text": "A text."}, refused=True),
        EdgeCase("the second text alone", {"text_pair": "A text."}, refused=True),
    ]


def image_cases(example: bytes) -> list[EdgeCase]:
    """For whatever reads images; made of one real image."""
    from PIL import Image

    from workers.inference.image import IMAGE_FORMATS

    with Image.open(io.BytesIO(example), formats=IMAGE_FORMATS) as opened:
        opened.load()
        image = opened.convert("RGB")
    image.thumbnail((256, 256))
    upside_down = Image.Exif()
    upside_down[0x0112] = 6
    clear = image.convert("RGBA")
    clear.putalpha(image.convert("L"))
    palette = image.quantize(16)
    return [
        EdgeCase("1 × 1 pixel", _encoded(image.resize((1, 1)), "PNG")),
        EdgeCase("4,000 × 3,000 pixels", _encoded(image.resize((4000, 3000)), "JPEG")),
        EdgeCase("3 × 700 pixels", _encoded(image.resize((3, 700)), "PNG")),
        EdgeCase("greyscale", _encoded(image.convert("L"), "JPEG")),
        EdgeCase(
            "16-bit greyscale", _encoded(image.convert("L").convert("I").point(_to_16_bit).convert("I;16"), "PNG")
        ),
        EdgeCase("black and white", _encoded(image.convert("1"), "PNG")),
        EdgeCase("CMYK", _encoded(image.convert("CMYK"), "JPEG")),
        EdgeCase("transparency", _encoded(clear, "PNG")),
        EdgeCase("palette with a transparent colour", _encoded(palette, "PNG", transparency=0)),
        EdgeCase("turned by EXIF", _encoded(image, "JPEG", exif=upside_down)),
        EdgeCase("animation", _encoded(image, "GIF", save_all=True, append_images=[image.rotate(90)])),
        EdgeCase("no bytes", b"", refused=True),
        EdgeCase("no image", b"%PDF-1.7 not an image", refused=True),
        EdgeCase("half an image", _encoded(image, "PNG")[: len(_encoded(image, "PNG")) // 2], refused=True),
    ]


def _to_16_bit(value: Any) -> Any:
    return value * 257


def _encoded(image: "Image", kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def row_cases(columns: Iterable[dict[str, Any]], example: dict[str, Any]) -> list[EdgeCase]:
    """For whatever reads rows of a table; made of one real row."""
    kinds = {column["name"]: column["type"] for column in columns}
    row = {name: example[name] for name in kinds}
    first = next(iter(kinds))
    cases = [
        EdgeCase("every cell missing", dict.fromkeys(kinds)),
        EdgeCase("every cell empty", dict.fromkeys(kinds, "")),
        EdgeCase("one column alone", {first: row[first]}),
        EdgeCase("white space around the cells", {name: f"  {cell} " for name, cell in row.items()}),
        EdgeCase("words where numbers belong", {**row, **_of(kinds, "number", "a lot")}),
        EdgeCase("huge numbers", {**row, **_of(kinds, "number", 1e300)}),
        EdgeCase("infinite numbers", {**row, **_of(kinds, "number", "-inf")}),
        EdgeCase("unknown categories", {**row, **_of(kinds, "category", "never seen 🙂")}),
        EdgeCase("long categories", {**row, **_of(kinds, "category", "x" * 10_000)}),
        EdgeCase("true for categories", {**row, **_of(kinds, "category", True)}),
        EdgeCase("dates that do not exist", {**row, **_of(kinds, "date", "2024-02-31")}),
        EdgeCase("a column that does not exist", {**row, f"{first} and more": 1}, refused=True),
        EdgeCase("no column", {}, refused=True),
        EdgeCase("a list as a cell", {**row, first: [1]}, refused=True),
        EdgeCase("a list as the row", list(row.values()), refused=True),
    ]
    used = set(kinds.values())
    about = {"numbers": "number", "categories": "category", "dates": "date"}
    return [case for case in cases if all(kind in used for word, kind in about.items() if word in case.name)]


def _of(kinds: dict[str, str], kind: str, value: Any) -> dict[str, Any]:
    return {name: value for name, found in kinds.items() if found == kind}
