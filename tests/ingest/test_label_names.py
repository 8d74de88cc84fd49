"""Labels that look like one label written in several ways, and those that only resemble each other."""

from pathlib import Path

import pytest

from tests.ingest.importing import as_csv, import_file, reviews
from workers.ingest.label_names import similar, typos


@pytest.mark.parametrize(
    "names",
    [
        ("Spam", "spam", "SPAM"),
        ("spam", "ｓｐａｍ"),
        ("カタカナ", "ｶﾀｶﾅ"),
        ("very good", "Very-Good", "very_good", "verygood"),
        ("spam", "spam\u200b"),
        ("Top 10", "top10"),
        ("straße", "STRASSE"),
    ],
)
def test_one_label_in_several_ways_is_one_group(names: tuple[str, ...]) -> None:
    classes = {name: 10 - place for place, name in enumerate(names)} | {"ham": 5}
    assert similar(classes) == [list(names)]


@pytest.mark.parametrize(
    "names", [("-1", "1"), ("C", "C++", "C#"), ("1-2", "12"), ("1 2", "12"), ("résumé", "resume"), ("a b", "a c")]
)
def test_labels_that_mean_different_things_are_no_group(names: tuple[str, ...]) -> None:
    assert similar(dict.fromkeys(names, 5)) == []


@pytest.mark.parametrize("slip", ["postive", "posiitve", "positivve", "positlve", "Positiv"])
def test_a_rare_label_one_letter_away_from_a_frequent_one_is_a_slip(slip: str) -> None:
    assert typos({"positive": 500, slip: 3, "negative": 400}) == [["positive", slip]]


@pytest.mark.parametrize(
    "classes",
    [
        {"positive": 500, "postive": 100},
        {"typical": 500, "atypical": 3},
        {"part A": 500, "part B": 3},
        {"grade 1": 500, "grade 2": 3},
        {"level10": 500, "level1": 3},
        {"垃圾邮件啊": 500, "垃圾邮件吧": 3},
        {"cat": 500, "rat": 3},
        {"hair": 500, "fair": 3},
    ],
)
def test_a_class_of_its_own_is_no_slip(classes: dict[str, int]) -> None:
    assert typos(classes) == []


def test_both_are_told_with_their_rows(tmp_path: Path) -> None:
    labels = ("positive", "negative")
    rows = [(text, labels[place % 2]) for place, (text, _) in enumerate(reviews(100))]
    rows += [("one more", "postive"), ("and one", "ｎｅｇａｔｉｖｅ"), ("the last", "Negative")]
    done = import_file(tmp_path, as_csv(rows))
    assert done.findings == {"class_typo": [100], "class_similar": [101, 102]}
    assert done.issue("class_typo")["examples"] == [{"line": 102, "value": "positive (50), postive (1)"}]
    assert done.issue("class_similar")["examples"] == [
        {"line": 103, "value": "negative (50), Negative (1), ｎｅｇａｔｉｖｅ (1)"}
    ]
