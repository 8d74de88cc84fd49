"""Languages of one script are told apart, by a sample, and a few texts in another one are pointed out."""

import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.ingest.importing import Outcome, as_csv, import_file
from tests.ingest.spoken import SPOKEN
from workers.ingest.languages import Sample


def texts_in(**counts: int) -> list[tuple[str, str]]:
    """So many texts in each language, mixed, no two alike, with a label."""
    texts = [f"{SPOKEN[code][n % 4]} {n}" for code, count in counts.items() for n in range(count)]
    random.Random(3).shuffle(texts)
    return [(text, ("good", "bad")[n % 2]) for n, text in enumerate(texts)]


def shares(done: Outcome) -> dict[str, float]:
    return {one["language"]: one["share"] for one in done.result.profile["languages"]["found"]}


def test_the_shares_of_languages_are_told_and_a_few_texts_in_another_one_are_pointed_out(tmp_path: Path) -> None:
    rows = texts_in(en=180, de=20)
    done = import_file(tmp_path, as_csv(rows))
    assert shares(done) == {"en": pytest.approx(0.9, abs=0.02), "de": pytest.approx(0.1, abs=0.02)}
    issue = done.issue("text_languages")
    assert (issue["severity"], len(issue["examples"])) == ("warning", 1)
    assert issue["count"] == pytest.approx(20, abs=3)
    example = issue["examples"][0]
    assert example["value"].startswith("German, about 10%: ")
    assert rows[example["line"] - 2][0] in example["value"]


@pytest.mark.parametrize(
    "counts",
    [{"en": 200}, {"en": 199, "tr": 1}, {"en": 60, "tr": 60, "it": 60}, {"nl": 180, "de": 20}],
    ids=["one", "a text of 200", "several of equal right", "kin"],
)
def test_where_nothing_looks_like_a_slip_nothing_is_pointed_out(tmp_path: Path, counts: dict[str, int]) -> None:
    done = import_file(tmp_path, as_csv(texts_in(**counts)))
    assert "text_languages" not in done.codes()
    assert max(shares(done), key=lambda code: shares(done)[code]) in counts


def test_texts_that_are_too_short_are_in_no_language(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_csv([(f"ok {n}", ("good", "bad")[n % 2]) for n in range(200)]))
    assert "languages" not in done.result.profile and "text_languages" not in done.codes()


def test_a_sample_is_spread_over_all_batches() -> None:
    sample, line = Sample(), 0
    for size in (5, 3000, 1, 7000, 40_000, 900):
        sample.add(pl.Series([f"text {n}" for n in range(line, line + size)]), np.arange(line, line + size))
        line += size
    lines = np.array([number for number, _ in sample.texts])
    assert 1000 <= len(lines) <= 2000 and sample.seen == line
    assert set(np.diff(lines)) == {32} and lines[-1] > line - 32
    assert all(text == f"text {number}" for number, text in sample.texts)
