"""What the data doctor tells of data that is read well and is questionable all the same; and the profile."""

from pathlib import Path

import pytest

from tests.ingest.importing import Outcome, as_csv, import_file, reviews
from workers.ingest import cells
from workers.ingest.statistics import summary


def test_every_bad_cell_has_its_code_line_column_and_text(tmp_path: Path) -> None:
    bad = [("", "good"), ("  ", "good"), ("no label", " "), ("x" * 2000, "good"), ("label too long", "y" * 500)]
    done = import_file(tmp_path, as_csv([*bad, *reviews()]), limits={"max_field_chars": 1000})
    assert [row["code"] for row in done.rejected] == [
        *("text_missing", "text_missing", "label_missing", "text_too_long", "text_too_long")
    ]
    assert [row["line"] for row in done.rejected] == ["2", "3", "4", "5", "6"]
    missing = done.issue("text_missing")
    assert (missing["severity"], missing["count"]) == ("error", 2)
    assert missing["examples"][0] == {"line": 2, "column": "text", "value": " | good"}
    assert missing["repair"]


def test_examples_are_few_and_counts_are_whole(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_csv([("", "good")] * 300 + reviews()))
    assert done.issue("text_missing")["count"] == 300
    assert len(done.issue("text_missing")["examples"]) == 5


def test_duplicates_and_contradictions_are_told(tmp_path: Path) -> None:
    rows = [*reviews(), ("review number 0", "good"), (" review  number 1", "good")]
    done = import_file(tmp_path, as_csv(rows))
    assert done.issue("duplicate_rows")["count"] == 2
    conflict = done.issue("duplicate_conflict")
    assert conflict["count"] == 2
    assert conflict["examples"] == [{"line": 43, "value": "bad (line 3) / good:  review  number 1"}]
    assert done.result.rows == 42
    # A repair takes away what repeats; who is right where two labels contradict each other has to be seen on both.
    assert done.findings == {"duplicate_rows": [40, 41], "duplicate_conflict": [1, 41]}


def test_a_text_in_train_and_test_is_told(tmp_path: Path) -> None:
    rows = [(*row, "train") for row in reviews()] + [(*row, "test") for row in reviews(3)]
    done = import_file(tmp_path, as_csv(rows, header=("text", "label", "split")))
    assert done.issue("duplicate_across_splits")["count"] == 3
    assert done.findings["duplicate_across_splits"] == [0, 1, 2]


def test_small_uneven_and_similar_classes_are_told(tmp_path: Path) -> None:
    rows = reviews(200) + [(f"rare {n}", "Good") for n in range(4)]
    done = import_file(tmp_path, as_csv(rows))
    assert done.issue("class_small")["examples"] == [{"line": 202, "value": "Good: 4"}]
    assert "good: 100, Good: 4" in done.issue("class_imbalance")["examples"][0]["value"] or done.issue(
        "class_imbalance"
    )
    assert done.issue("class_similar")["examples"] == [{"line": 202, "value": "good (100), Good (4)"}]
    assert done.issue("class_similar")["message"].endswith("the width of letters: good (100), Good (4).")
    assert done.findings["class_similar"] == [200, 201, 202, 203]


def test_clean_data_has_no_issues(tmp_path: Path) -> None:
    assert import_file(tmp_path, as_csv(reviews(100))).result.issues == []


def test_repeated_interactions_are_counted_once_and_the_last_by_time_stays(tmp_path: Path) -> None:
    rows = [(f"u{n % 5}", f"i{n}", "1", str(n)) for n in range(50)]
    rows += [("u0", "i0", "5", "900"), ("u0", "i0", "3", "800")]
    done = import_file(tmp_path, as_csv(rows, header=("user", "item", "rating", "time")), kind="recommendation")
    assert done.result.rows == 50
    assert done.result.profile["merged"] == 2
    assert (
        done.result.rows + done.result.rejected + done.result.profile["merged"] == done.result.profile["rows_in_file"]
    )
    assert [row["rating"] for row in done.rows if (row["user"], row["item"]) == ("u0", "i0")] == [5.0]
    assert done.issue("interaction_repeated")["count"] == 2


def test_an_interaction_in_train_and_test_stays_in_train(tmp_path: Path) -> None:
    rows = [(f"u{n % 5}", f"i{n}", "train" if n % 4 else "test") for n in range(60)] + [("u0", "i0", "train")]
    done = import_file(tmp_path, as_csv(rows, header=("user", "item", "split")), kind="recommendation")
    assert [row["split"] in ("train", "validation") for row in done.rows if row["item"] == "i0"] == [True]


def test_bad_cells_of_interactions_are_told(tmp_path: Path) -> None:
    good = [(f"u{n % 5}", f"i{n}", "4", "2024-01-31T12:00:00Z") for n in range(30)]
    bad = [
        ("", "i", "1", "1"),
        ("u", " ", "1", "1"),
        ("u", "i", "five", "1"),
        ("u", "i", "nan", "1"),
        ("u", "i", "1", "soon"),
    ]
    done = import_file(
        tmp_path, as_csv([*good, *bad], header=("user", "item", "rating", "time")), kind="recommendation"
    )
    assert [row["code"] for row in done.rejected] == [
        *("user_missing", "item_missing", "rating_invalid", "rating_invalid", "timestamp_invalid")
    ]


def test_the_profile_of_interactions_tells_sizes_density_and_dates(tmp_path: Path) -> None:
    rows = [(f"u{user}", f"i{item}", f"2024-01-{item + 1:02}") for user in range(10) for item in range(user + 1)]
    profile = import_file(tmp_path, as_csv(rows, header=("user", "item", "date")), kind="recommendation").result.profile
    assert (profile["users"], profile["items"], profile["density"]) == (10, 10, 0.55)
    assert profile["dates"] == {"from": "2024-01-01T00:00:00+00:00", "to": "2024-01-10T00:00:00+00:00"}
    assert profile["per_user"]["doubling"] == {"from": [1, 2, 4, 8], "counts": [1, 2, 4, 3]}
    assert profile["popular"][0] == {"item": "i0", "count": 10}


def test_the_histogram_of_lengths_counts_every_row(tmp_path: Path) -> None:
    rows = [("x" * (n + 1), "ab"[n % 2]) for n in range(100)]
    lengths = import_file(tmp_path, as_csv(rows)).result.profile["text_length"]
    assert (lengths["min"], lengths["median"], lengths["max"]) == (1, 50.5, 100)
    assert sum(lengths["histogram"]["counts"]) == 100
    assert len(lengths["histogram"]["edges"]) == len(lengths["histogram"]["counts"]) + 1


def test_a_summary_of_nothing_is_empty() -> None:
    import numpy as np

    assert summary(np.array([])) == {}
    assert sum(summary(np.array([7, 7, 7]))["histogram"]["counts"]) == 3


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("0", 0),
        ("1700000000", 1_700_000_000),
        ("1700000000.9", 1_700_000_000),
        ("1700000000123", 1_700_000_000),
        ("1700000000123456", 1_700_000_000),
        ("1.7e9", 1_700_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000),
        ("2023-11-14 23:13:20+01:00", 1_700_000_000),
        ("2023/11/14", 1_699_920_000),
        ("20231114", 1_699_920_000),
        ("1969-12-31T23:59:59", -1),
        ("yesterday", None),
        ("nan", None),
        ("1e400", None),
        ("", None),
    ],
)
def test_times_are_read_as_seconds_of_utc(cell: str, seconds: int | None) -> None:
    assert cells.timestamp(cell) == seconds


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("3.5", 3.5),
        ("3,5", 3.5),
        (" -1 ", -1.0),
        ("1e2", 100.0),
        ("1_000", None),
        ("1,000", None),
        ("inf", None),
        ("1e39", None),
    ],
)
def test_ratings_are_plain_finite_numbers(cell: str, value: float | None) -> None:
    assert cells.rating(cell) == value


def test_users_and_items_seen_once_are_told(tmp_path: Path) -> None:
    rows = [(f"u{n % 4}", f"i{n % 9}") for n in range(36)] + [("guest", "i1"), ("u1", "rare"), ("guest", "i1")]
    done = import_file(tmp_path, as_csv(rows, header=("user", "item")), kind="recommendation")
    for code, line, name in (("user_once", 40, "guest"), ("item_once", 39, "rare")):
        issue = done.issue(code)
        assert (issue["severity"], issue["count"], issue["examples"]) == ("info", 1, [{"line": line, "value": name}])
    # A guest was there twice with one item: counted once, and the rows after the merged one have moved up.
    found = [done.rows[row] for code in ("user_once", "item_once") for row in done.findings[code]]
    assert [(row["user"], row["item"]) for row in found] == [("guest", "i1"), ("u1", "rare")]


def test_times_that_lie_ahead_or_are_all_the_same_are_told(tmp_path: Path) -> None:
    def played(*times: str) -> Outcome:
        rows = [(f"u{n % 4}", f"i{n % 9}", times[n % len(times)]) for n in range(36)]
        return import_file(tmp_path, as_csv(rows, header=("user", "item", "time")), kind="recommendation")

    assert played("2024-01-01", "2999-12-31").issue("timestamp_future")["count"] == 18
    assert "timestamp_constant" in played("2024-01-01").codes()
    assert not played("2024-01-01", "2024-01-02").codes() & {"timestamp_future", "timestamp_constant"}
