"""Findings about texts: each has a file that shows it, and one that must not."""

from pathlib import Path

import pytest

from tests.ingest.importing import Outcome, as_csv, import_file, reviews
from workers.ingest.text_doctor import is_card


def imported(tmp_path: Path, *texts: str) -> Outcome:
    return import_file(tmp_path, as_csv(reviews() + [(text, "good") for text in texts]))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("text_mojibake", "Un cafÃ© trÃ¨s bon"),
        ("text_mojibake", "It isnâ€™t good"),
        ("text_mojibake", "I can\x92t wait"),
        ("text_mojibake", "lost letter \ufffd here"),
        ("text_mojibake", "ÐŸÑ€Ð¸Ð²ÐµÑ‚"),
        ("text_markup", "a <br/> good film"),
        ("text_markup", '<a href="x">link</a>'),
        ("text_markup", "good &amp; cheap"),
        ("text_personal", "write to ann.lee+work@mail.example.org please"),
        ("text_personal", "call +49 170 1234567"),
        ("text_personal", "call (555) 123-4567 now"),
        ("text_personal", "card 4111 1111 1111 1111"),
    ],
)
def test_a_finding_is_told_with_its_line_and_the_row_is_kept(tmp_path: Path, code: str, text: str) -> None:
    done = imported(tmp_path, text)
    issue = done.issue(code)
    assert (issue["count"], issue["examples"][0]["line"], issue["examples"][0]["column"]) == (1, 42, "text")
    assert done.rows[-1]["text"] == text
    assert done.findings == {code: [40]}


@pytest.mark.parametrize(
    "text",
    [
        "São Paulo, Müller, naïve, Ñandú, Ångström, crème brûlée",
        "Привет, 你好, こんにちは, ¿Qué tal?",
        "if a < b and c > d, then 1 <2> 3; AT&T & Co",
        "@home at 10:30 on 2024-01-31, 1,234,567.89 euros, version 10.20.30.40",
        "order 1234567890123456 of 31.01.2024, 978-3-16-148410-0, 192.168.100.200",
    ],
)
def test_ordinary_texts_have_no_findings(tmp_path: Path, text: str) -> None:
    assert not imported(tmp_path, text).codes() & {"text_mojibake", "text_markup", "text_personal"}


def test_a_finding_is_on_the_row_of_the_version_however_many_were_rejected_before(tmp_path: Path) -> None:
    rows = [("", "good"), *reviews(), ("no label", ""), ("write to ann@example.org", "good"), ("a<br>b", "bad")]
    done = import_file(tmp_path, as_csv(rows))
    assert (done.result.rejected, done.findings) == (2, {"text_personal": [40], "text_markup": [41]})


def test_a_version_without_findings_has_no_file_of_them(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_csv(reviews()))
    assert not (done.folder.output / "findings.parquet").exists()


def test_what_is_found_far_into_a_long_text_is_shown(tmp_path: Path) -> None:
    done = imported(tmp_path, "word " * 300 + "ann@example.org")
    assert "ann@example.org" in done.issue("text_personal")["examples"][0]["value"]


def test_ids_in_the_place_of_texts_are_told(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_csv([(f"A-{n:05}", "ab"[n % 2]) for n in range(40)]), mapping={"text": "text"})
    assert "text_is_id" in done.codes()
    assert "text_is_id" not in import_file(tmp_path, as_csv(reviews())).codes()


def test_several_scripts_are_told_with_their_shares(tmp_path: Path) -> None:
    rows = (
        reviews()
        + [(f"很好的电影 {n}", "good") for n in range(20)]
        + [(f"とてもいい映画 {n}", "bad") for n in range(20)]
    )
    examples = import_file(tmp_path, as_csv(rows)).issue("text_scripts")["examples"]
    assert [example["value"].split(":")[0] for example in examples] == ["Latin, 50%", "Chinese, 25%", "Japanese, 25%"]
    assert "text_scripts" not in import_file(tmp_path, as_csv(reviews())).codes()


def test_cards_are_told_from_other_numbers_by_their_check_digit() -> None:
    assert is_card("4111111111111111") and is_card("378282246310005")
    assert not is_card("4111111111111112") and not is_card("0000000000000000") and not is_card("18")
