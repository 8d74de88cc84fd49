"""What identifies rows and versions: the same from release to release, or versions would not import again as such."""

import hashlib
import struct
import unicodedata
from pathlib import Path

import polars as pl
import polars_hash as plh
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.importing import Outcome, as_csv, import_file, reviews
from workers.ingest import hashing
from workers.ingest.differences import compare
from workers.ingest.version import Version


def xxh3(text: str, seed: int = 0) -> int:
    return int(pl.select(plh.concat_str(pl.lit(text)).nchash.xxh3_64(seed=seed)).item())


def version_hash(columns: dict[str, bytes]) -> str:
    told = "".join(f"{name}:{hashlib.sha256(columns[name]).hexdigest()};" for name in sorted(columns))
    return hashlib.sha256(told.encode()).hexdigest()


def told_columns(done: Outcome, labels: list[str], texts: dict[str, list[str]]) -> dict[str, bytes]:
    """Splits, labels and texts of rows as a version's hash is made of them."""
    names = list(dict.fromkeys(labels))
    columns = {
        "split": bytes(["train", "validation", "test"].index(row["split"]) for row in done.rows),
        "label": struct.pack(f"<{len(labels)}i", *map(names.index, labels)),
    }
    for column, cells, part in (("label", names, "names"), *((name, cells, "texts") for name, cells in texts.items())):
        columns[f"{column}.lengths"] = struct.pack(f"<{len(cells)}I", *(len(cell.encode()) for cell in cells))
        columns[f"{column}.{part}"] = "".join(cells).encode()
    return columns


def test_digests_of_texts_are_those_of_xxh3() -> None:
    """Of the algorithm's own test vectors: an empty text, and one byte; stored versions are compared by them."""
    assert hashing.of_texts(pl.Series(["", "a", "  a "])).tolist() == [
        0x2D06800538D394C2,
        0xE6C632B61E964E1F,
        0xE6C632B61E964E1F,
    ]
    first, second = hashing.of_texts(pl.Series(["ab", "c"])), hashing.of_texts(pl.Series(["c", "ab"]), role="text_pair")
    assert first.tolist() == [xxh3("ab"), xxh3("c")] and second.tolist() == [xxh3("c", 1), xxh3("ab", 1)]
    assert len(set(hashing.of_pairs(first, second).tolist())) == 2


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
        assert row["hash"] == xxh3(unicodedata.normalize("NFC", " ".join(row["text"].split())))
    columns = told_columns(done, [row["label"] for row in done.rows], {"text": [row["text"] for row in done.rows]})
    assert done.result.content_hash == version_hash(columns)


def test_versions_with_earlier_digests_are_compared_by_their_content(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_csv(reviews()))
    table = pq.read_table(done.folder.output / "data.parquet")
    earlier = pa.array([hashlib.blake2b(row["text"].encode(), digest_size=16).hexdigest() for row in done.rows])
    pq.write_table(
        table.set_column(table.schema.get_field_index("hash"), "hash", earlier), tmp_path / "earlier.parquet"
    )
    with Version(tmp_path / "earlier.parquet") as first, Version(done.folder.output / "data.parquet") as second:
        assert first.hashes.tolist() == second.hashes.tolist() == [row["hash"] for row in done.rows]
        assert not any(compare(first, second).counts().values())


def test_a_version_of_interactions_is_hashed_by_columns(tmp_path: Path) -> None:
    rows: list[tuple[str, ...]] = [
        (f" user {n % 7}", f"e\u0301{n}", f"{n * 0.37:.2f}", str(1_600_000_000 + n)) for n in range(60)
    ]
    # A row that gives way to a later one, and one that cannot be used: neither counts.
    odd: list[tuple[str, ...]] = [
        ("user 9", "first", "1", "1600000000"),
        ("nobody", "x", "many", "1"),
        ("user 9", "first", "2", "1700000000"),
    ]
    rows = [*odd, *rows]
    done = import_file(tmp_path, as_csv(rows, header=("user", "item", "rating", "time")), kind="recommendation")
    columns: dict[str, bytes] = {
        "split": b"".join(bytes([("train", "validation", "test").index(row["split"])]) for row in done.rows),
        "rating": struct.pack(f"<{len(done.rows)}f", *(row["rating"] for row in done.rows)),
        "timestamp": struct.pack(f"<{len(done.rows)}q", *(row["timestamp"] for row in done.rows)),
    }
    for role in ("user", "item"):
        names = list(dict.fromkeys(row[role] for row in done.rows))
        columns[role] = struct.pack(f"<{len(done.rows)}i", *(names.index(row[role]) for row in done.rows))
        columns[f"{role}.lengths"] = struct.pack(f"<{len(names)}I", *(len(name.encode()) for name in names))
        columns[f"{role}.names"] = "".join(names).encode()
    assert done.result.content_hash == version_hash(columns)
    turned: list[tuple[str, ...]] = [(time, rating, item, user) for user, item, rating, time in rows]
    again = import_file(tmp_path, as_csv(turned, header=("time", "rating", "item", "user")), kind="recommendation")
    assert again.result.content_hash == done.result.content_hash


def test_hashes_of_pairs_are_pinned() -> None:
    """Splits by hash depend on them."""
    users, items = pl.Series(["ab", "a", "é"]), pl.Series(["c", "bc", "ab"])
    by_role = hashing.of_names(users, "user"), hashing.of_names(items, "item")
    for role, names, found in zip(("user", "item"), (users, items), by_role, strict=True):
        wanted = [hashlib.blake2b(one.encode(), digest_size=8, person=role.encode()).digest() for one in names]
        assert found.tolist() == [int.from_bytes(one, "little") for one in wanted]
    for user, item, pair in zip(*(one.tolist() for one in by_role), hashing.of_pairs(*by_role).tolist(), strict=True):
        mixed = (user + item) % 2**64
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
        assert pair == mixed ^ mixed >> 31


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=8))
def test_whole_columns_are_hashed_and_named_like_single_texts(texts: list[str]) -> None:
    from workers.ingest import cells, names

    column = pl.Series("text", texts, pl.String)
    assert hashing.named(column).to_list() == [cells.name(text) for text in texts]
    plain = [unicodedata.normalize("NFC", " ".join(text.split())) for text in texts]
    assert hashing.of_texts(column).tolist() == list(map(xxh3, plain))
    numbers = names.Names()
    codes = numbers.codes(column)
    assert [numbers.at([code])[0] if code >= 0 else "" for code in codes.tolist()] == [cells.name(one) for one in texts]
    assert numbers.codes(column.reverse()).tolist() == codes[::-1].tolist()


def test_no_usual_character_is_hashed_as_another_one() -> None:
    """Every character that is not looked at singly is itself in NFC, joins with none before it, and is no space."""
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


def test_rows_that_are_refused_leave_no_trace_in_the_hash(tmp_path: Path) -> None:
    last = ("a text that stays", "label of a refused row")
    plain = import_file(tmp_path, as_csv([*reviews(), last]))
    refused = import_file(tmp_path, as_csv([("", last[1]), ("", "of no other row"), *reviews(), last]))
    assert len(refused.rejected) == 2 and refused.rows == plain.rows
    assert refused.result.content_hash == plain.result.content_hash
