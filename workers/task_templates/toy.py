"""Small data sets with a known answer, for the contract suite: written as an ingest would write them."""

import hashlib
import io
import json
import random
from pathlib import Path
from typing import Any

_WORDS = {
    label: words.split()
    for label, words in {
        "weather": "rain sun cloud storm wind snow thunder fog frost heat drizzle hail",
        "food": "bread soup cheese apple pasta rice salad butter honey curry garlic lemon",
        "travel": "train ticket airport hotel luggage passport ferry harbour taxi border station map",
    }.items()
}
_FILLERS = [
    "the",
    "a",
    "we",
    "had",
    "some",
    "with",
    "and",
    "then",
    "for",
    "today",
    "my",
    "our",
    "very",
    "nice",
    "about",
    "there",
]
_COLOURS = {"red": (200, 40, 40), "green": (40, 190, 60), "blue": (50, 60, 210)}


def _split(index: int) -> str:
    return {4: "validation", 5: "test"}.get(index % 6, "train")


def _number(content: str) -> int:
    """A hash of the content."""
    return int(hashlib.sha256(content.encode()).hexdigest()[:15], 16)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_toy_texts(path: Path, seed: int) -> None:
    """Sentences of filler words with two words of their class: 360 rows, 240 train, 60 validation, 60 test."""
    random_source = random.Random(seed)
    rows = []
    for row in range(360):
        label = random_source.choice(sorted(_WORDS))
        words = random_source.choices(_FILLERS, k=random_source.randint(3, 9))
        words += random_source.sample(_WORDS[label], 2)
        random_source.shuffle(words)
        text = " ".join(words)
        digest = _number(text)
        rows.append(
            {
                "row": row,
                "split": _split(row),
                "hash": digest,
                "text": text,
                "label": label,
            }
        )
    _write(path, rows)


def _labelled(sets: list[str]) -> dict[str, Any]:
    """The two columns of a row with several labels."""
    return {"label": json.dumps(sorted(sets)), "labels": sorted(sets)}


def write_toy_text_sets(path: Path, seed: int) -> None:
    """As `write_toy_texts`, of none to three topics each: two words of each are in the text."""
    random_source = random.Random(seed)
    rows = []
    for row in range(360):
        labels = [label for label in sorted(_WORDS) if random_source.random() < 0.45]
        words = random_source.choices(_FILLERS, k=random_source.randint(3, 6))
        words += [word for label in labels for word in random_source.sample(_WORDS[label], 2)]
        random_source.shuffle(words)
        text = " ".join(words)
        digest = _number(text)
        rows.append({"row": row, "split": _split(row), "hash": digest, "text": text, **_labelled(labels)})
    _write(path, rows)


def write_toy_text_pairs(path: Path, seed: int) -> None:
    """A question after a word, and a sentence that has it or another: neither alone tells the label. 360 rows."""
    random_source = random.Random(seed)
    words = sorted(word for topic in _WORDS.values() for word in topic)
    rows = []
    for row in range(360):
        asked, other = random_source.sample(words, 2)
        label = random_source.choice(["answers", "misses"])
        sentence = random_source.choices(_FILLERS, k=random_source.randint(3, 6))
        sentence.append(asked if label == "answers" else other)
        random_source.shuffle(sentence)
        texts = {"text": f"where is {asked}?", "text_pair": " ".join(sentence)}
        digest = _number(str(texts))
        rows.append({"row": row, "split": _split(row), "hash": digest, **texts, "label": label})
    _write(path, rows)


def write_toy_image_sets(path: Path, seed: int) -> None:
    """Noise with up to three blobs, each in the colour of its label, in corners: 240 rows of 24 pixels."""
    import numpy as np
    from PIL import Image

    source = np.random.default_rng(seed)
    rows = []
    for row in range(240):
        labels = [label for label in sorted(_COLOURS) if source.random() < 0.45]
        pixels = source.integers(60, 180, size=(24, 24, 3), dtype=np.uint8)
        for label, corner in zip(labels, source.permutation(4).tolist(), strict=False):
            top, left = 12 * (corner // 2), 12 * (corner % 2)
            pixels[top : top + 11, left : left + 11] = _COLOURS[label]
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        digest = hashlib.sha256(stream.getvalue()).hexdigest()[:32]
        about = {"name": f"{row:04d}.png", "width": 24, "height": 24, "format": "PNG"}
        image = {"image": stream.getvalue(), **about, **_labelled(labels)}
        rows.append({"row": row, "split": _split(row), "hash": digest, **image})
    _write(path, rows)


def write_toy_images(path: Path, seed: int) -> None:
    """Noise with one blob in the colour of its class, 24 pixels, PNG and JPEG: 240 rows, 160 train, 40 and 40."""
    import numpy as np
    from PIL import Image

    source = np.random.default_rng(seed)
    rows = []
    for row in range(240):
        label = sorted(_COLOURS)[int(source.integers(3))]
        pixels = source.integers(60, 180, size=(24, 24, 3), dtype=np.uint8)
        top, left = source.integers(0, 12, size=2)
        pixels[top : top + 12, left : left + 12] = _COLOURS[label]
        stream = io.BytesIO()
        kind = "PNG" if row % 2 else "JPEG"
        Image.fromarray(pixels).save(stream, kind)
        data = stream.getvalue()
        rows.append(
            {
                "row": row,
                "split": _split(row),
                "hash": hashlib.sha256(data).hexdigest()[:32],
                "image": data,
                "label": label,
                "name": f"{label}/{row:04d}.{kind.lower()}",
                "width": 24,
                "height": 24,
                "format": kind,
            }
        )
    _write(path, rows)


def write_toy_interactions(path: Path, seed: int) -> None:
    """Odd users like jazz, even ones metal: 80 users, 12 items of each kind, 8 per user; 480 rows to train on."""
    random_source = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for user in range(1, 81):
        kind = "jazz" if user % 2 else "metal"
        for place, number in enumerate(random_source.sample(range(1, 13), 8)):
            name, item = f"u{user}", f"{kind}-{number}"
            digest = hashlib.sha256(f"{name}\0{item}".encode()).hexdigest()[:32]
            split = {6: "validation", 7: "test"}.get(place, "train")
            rows.append({"row": len(rows), "split": split, "hash": digest, "user": name, "item": item})
    _write(path, rows)


def write_toy_table(path: Path, seed: int) -> None:
    """Measured plants with gaps: tall ones are trees; of the small ones the red are flowers, the others grasses; what
    was found in winter is moss. 360 rows, 240 train, 60 validation, 60 test."""
    import pyarrow
    import pyarrow.parquet

    random_source = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for row in range(360):
        height, colour = random_source.uniform(1, 99), random_source.choice(["red", "green", "brown"])
        day = random_source.randint(1, 28)
        winter = random_source.random() < 0.25
        label = "moss" if winter else "tree" if height > 50 else "flower" if colour == "red" else "grass"
        # A gap where it decides nothing.
        shown = "" if winter and random_source.random() < 0.5 else f"{height:.2f}"
        month = random_source.choice([1, 12]) if winter else random_source.randint(4, 9)
        values = {"number": str(5000 + row), "height": shown, "colour": colour, "found": f"2024-{month:02d}-{day:02d}"}
        digest = _number(str(values))
        rows.append({"row": row, "split": _split(row), "hash": digest, "label": label, "values": values})
    types = {"number": "ignored", "height": "number", "colour": "category", "found": "date"}
    fields = [
        pyarrow.field(name, pyarrow.string(), metadata={"type": kind, "format": "iso" if kind == "date" else ""})
        for name, kind in types.items()
    ]
    plain = (("split", pyarrow.string()), ("hash", pyarrow.uint64()), ("label", pyarrow.string()))
    schema = pyarrow.schema([("row", pyarrow.int64()), *plain, ("values", pyarrow.struct(fields))])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), path)
