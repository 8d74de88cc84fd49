"""What identifies rows and versions: the same from release to release, or versions would not import again as such."""

import hashlib
import unicodedata
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.importing import Outcome, as_csv, import_file, reviews
from workers.ingest import hashing


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def version_hash(done: Outcome, values: list[str]) -> str:
    rows = zip(done.rows, values, strict=True)
    return hashlib.sha256("".join(f"{r['hash']}{r['split']}{len(v)}:{v}" for r, v in rows).encode()).hexdigest()


def test_texts_and_their_version_are_hashed_as_ever(tmp_path: Path) -> None:
    texts = [
        "  two\n lines ",
        "cafe\u0301 crème",
        "한국어 \u1112\u1161\u11ab",
        "你好，世界",
        "नमस्ते  दुनिया",
        "\u2126 \ufb01",
        "plain",
    ]
    done = import_file(tmp_path, as_csv([*reviews(), *((text, "Äé 好") for text in texts)]))
    for row in done.rows:
        assert row["hash"] == digest(unicodedata.normalize("NFC", " ".join(row["text"].split())).encode())
    assert done.result.content_hash == version_hash(done, [row["label"] for row in done.rows])


def test_interactions_and_their_version_are_hashed_as_ever(tmp_path: Path) -> None:
    rows = [(f"user {n % 7}", f"é{n}", f"{n * 0.37:.2f}", str(1_600_000_000 + n)) for n in range(60)]
    done = import_file(tmp_path, as_csv(rows, header=("user", "item", "rating", "time")), kind="recommendation")
    for row in done.rows:
        user = row["user"].encode()
        assert row["hash"] == digest(len(user).to_bytes(8, "little") + user + row["item"].encode())
    values = [f"{row['rating']}|{row['timestamp']}" for row in done.rows]
    assert done.result.content_hash == version_hash(done, values)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=8))
def test_whole_columns_are_hashed_and_named_like_single_texts(texts: list[str]) -> None:
    import polars as pl

    from workers.ingest import cells

    column = pl.Series("text", texts, pl.String)
    assert hashing.named(column).to_list() == [cells.name(text) for text in texts]
    plain = [unicodedata.normalize("NFC", " ".join(text.split())) for text in texts]
    assert hashing.of_texts(column).hexadecimal.to_pylist() == [digest(text.encode()) for text in plain]
    pairs = hashing.of_pairs(column, column.reverse())
    encoded = [text.encode() for text in texts]
    wanted = [len(a).to_bytes(8, "little") + a + b for a, b in zip(encoded, encoded[::-1], strict=True)]
    assert pairs.hexadecimal.to_pylist() == [digest(pair) for pair in wanted]
    assert pairs.short.tolist() == [hashing.short(hashlib.blake2b(pair, digest_size=16).digest()) for pair in wanted]


def test_no_usual_character_is_hashed_as_another_one() -> None:
    """Every character that is not looked at singly is itself in NFC, joins with none before it, and is no space."""
    import polars as pl

    every = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    seconds = {
        parts[1] for one in every if len(parts := unicodedata.decomposition(one).split()) == 2 and parts[0][0] != "<"
    }
    seconds |= {f"{code:04X}" for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    usual = pl.Series(every).filter(~pl.Series([f"a{one}a" for one in every]).str.contains(hashing.UNUSUAL)).to_list()
    assert len(usual) > 30_000
    for one in usual:
        assert unicodedata.normalize("NFC", one) == one and not unicodedata.combining(one)
        assert f"{ord(one):04X}" not in seconds
        assert one == " " or not one.isspace()
