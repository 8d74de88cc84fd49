"""Which column is what: by the user's choice, by name, by content; or told that it cannot be told."""

from pathlib import Path

import pytest

from tests.ingest.importing import as_csv, failure, import_file, reviews
from workers.ingest.columns import clean_header, guess, kind_of

HEAD = [["great film, would watch again", "pos", "7"], ["not good at all, sadly", "neg", "9"]] * 10


@pytest.mark.parametrize(
    ("columns", "mapping"),
    [
        (["text", "label", "n"], {"text": "text", "label": "label"}),
        (["Review Text", "Sentiment", "n"], {"text": "Review Text", "label": "Sentiment"}),
        (["question", "type", "n"], {"text": "question", "label": "type"}),
        (["内容", "标签", "n"], {"text": "内容", "label": "标签"}),
        (["a", "b", "c"], {"text": "a", "label": "b"}),
    ],
)
def test_text_and_label_are_found(columns: list[str], mapping: dict[str, str]) -> None:
    assert guess("text", columns, HEAD) == mapping


@pytest.mark.parametrize(
    ("columns", "row", "mapping"),
    [
        (
            ["userId", "movieId", "rating", "timestamp"],
            ["1", "31", "2.5", "1260759144"],
            {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"},
        ),
        (["user", "artist", "split"], ["3", "4", "train"], {"user": "user", "item": "artist", "split": "split"}),
        (
            ["customer_id", "sku", "date"],
            ["c", "s", "2024-01-31"],
            {"user": "customer_id", "item": "sku", "timestamp": "date"},
        ),
        # A column that is called rating and holds words is none.
        (["user", "item", "rating"], ["u", "i", "superb"], {"user": "user", "item": "item"}),
    ],
)
def test_interactions_are_found(columns: list[str], row: list[str], mapping: dict[str, str]) -> None:
    assert guess("recommendation", columns, [row] * 5) == mapping
    assert kind_of(columns, [row] * 5) == "recommendation"


def test_a_file_of_numbers_without_header_is_read_as_interactions(tmp_path: Path) -> None:
    lines = "".join(f"{n % 5}\t{n}\t{n % 5 + 1}\t{881250949 + n}\n" for n in range(40))
    done = import_file(tmp_path, lines, kind="recommendation", filename="u.data")
    assert done.result.mapping == {
        "user": "column_1",
        "item": "column_2",
        "rating": "column_3",
        "timestamp": "column_4",
    }
    assert done.result.rows == 40


def test_the_users_choice_goes_before_the_guess(tmp_path: Path) -> None:
    rows = [(text, "x", label) for text, label in reviews()]
    source = as_csv(rows, header=("text", "label", "Mood"))
    assert import_file(tmp_path, source, mapping={"label": " mood"}).result.classes == {"bad": 20, "good": 20}


@pytest.mark.parametrize(
    ("header", "mapping"),
    [
        (("text", "label"), {"text": "review"}),
        (("text", "label"), {"text": "label", "label": "label"}),
        (("text", "label"), {"colour": "text"}),
        (("only",), {}),
    ],
)
def test_a_missing_column_is_told_with_those_that_are_there(
    tmp_path: Path, header: tuple[str, ...], mapping: dict[str, str]
) -> None:
    rows = [row[: len(header)] for row in reviews()]
    error = failure(tmp_path, as_csv(rows, header=header), mapping=mapping)
    assert error.code == "column_missing"
    assert error.evidence == "Columns in the file: " + ", ".join(header)


def test_a_split_column_is_only_one_if_it_holds_splits(tmp_path: Path) -> None:
    rows = [(*row, "blue") for row in reviews()]
    assert "split" not in import_file(tmp_path, as_csv(rows, header=("text", "label", "set"))).result.mapping


def test_header_names_are_trimmed_unique_and_never_empty() -> None:
    assert clean_header(["\ufefftext", " text ", "", "text_2"]) == ["text", "text_2", "column_3", "text_2_2"]
