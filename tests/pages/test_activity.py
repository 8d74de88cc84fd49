"""The audit trail in words."""

import ast
from pathlib import Path

import pytest

from apps.core import activity
from apps.core.models import AuditEntry

APPS = Path(activity.__file__).resolve().parents[1]


def recorded_events() -> set[str]:
    """Every "noun.verb" that stands in the code of an action, wherever it is passed."""
    nouns = set(activity.ICONS)
    found = set()
    for path in APPS.glob("*/*.py"):
        if path == Path(activity.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                noun, dot, verb = node.value.partition(".")
                if dot and noun in nouns and verb.isidentifier() and verb.endswith(("ed", "begun", "left", "back")):
                    found.add(node.value)
    return found


def test_every_event_that_is_recorded_has_words() -> None:
    events = recorded_events()
    assert "dataset.created" in events
    assert events - set(activity.WORDS) == set()


def test_there_are_words_for_nothing_that_is_never_recorded() -> None:
    code = "".join(path.read_text("utf-8") for path in APPS.glob("*/*.py") if path != Path(activity.__file__))
    assert [event for event in activity.WORDS if f'"{event}"' not in code] == []


@pytest.mark.parametrize("event", sorted(activity.WORDS))
def test_words_hold_the_name_as_it_is(event: str) -> None:
    sentence = activity.words(AuditEntry(event=event, noun_name="100 % %s {x}"))
    assert "100 % %s {x}" in sentence or event in ("member.left",)


def test_an_unknown_event_is_still_told() -> None:
    assert activity.words(AuditEntry(event="webhook.sent", noun_name="orders")) == "webhook sent: orders"
