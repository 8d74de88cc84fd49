"""No text makes us try for ever: neither a regular expression, nor what puts texts in a normal form.

Every pattern that stands in the sources is run against texts that are made to be nearly matched in very many ways. One
that tries them all would need many seconds; each gets one second of CPU, a thousand times what it needs.
"""

import ast
import re
import signal
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import pytest

from tests.unit.test_walls import ROOT, SOURCES, python_files
from workers.ingest import cells, columns, index, label_names, repair_text, shingles
from workers.ingest.archives import entries

_LENGTH = 20_000
_SECONDS = 1.0
_HEADS = ("", "a", "1", "a@1", "+1.", "gzip;q=0.")
_REPEATED = (
    *("a", "1", "0", " ", "-", "_", ".", ",", ";", "/", "@", "\u00c3", "\u200b"),
    *("<a ", "<!--", "<script>", "&#1", "a@", "1.", "1,", "1 ", "/a", "gzip "),
)
_TEXTS = [f"{one[0]}{one[1] * (_LENGTH // len(one[1]))}{one[2]}" for one in product(_HEADS, _REPEATED, ("", "!", "\n"))]


class Use(NamedTuple):
    """A pattern that is written out in a call of the module re, and the methods that it is used by."""

    pattern: str | bytes
    flags: int
    methods: tuple[str, ...]


def uses() -> Iterator[Any]:
    """Every pattern of the sources, by its place."""
    for path in python_files(*SOURCES):
        source = path.read_text("utf-8")
        tree = ast.parse(source)
        names = {
            id(node.value): node.targets[0] if isinstance(node, ast.Assign) else node.target
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign | ast.AnnAssign)
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.") and node.args):
                continue
            pattern = node.args[0]
            if not (isinstance(pattern, ast.Constant) and isinstance(pattern.value, str | bytes)):
                continue
            others = [inner for argument in node.args[1:] for inner in ast.walk(argument)]
            flags = [
                getattr(re, inner.attr) for inner in others if isinstance(inner, ast.Attribute) and inner.attr.isupper()
            ]
            method = ast.unparse(node.func).removeprefix("re.")
            if method == "compile":
                name = re.escape(ast.unparse(names[id(node)])) if id(node) in names else r"\S*"
                found = set(re.findall(rf"{name}\.(match|fullmatch|search|sub|split|findall|finditer)\b", source))
            else:
                found = {method}
            methods = {one if "match" in one else "search" for one in found} or {"fullmatch", "search"}
            use = Use(pattern.value, sum(map(int, flags)), tuple(sorted(methods)))
            yield pytest.param(use, id=f"{path.relative_to(ROOT)}:{node.lineno}")


@contextmanager
def seconds_of_cpu(seconds: float, what: str) -> Iterator[None]:
    """Fail where the block computes longer; the engine of `re` looks for signals while it tries."""

    def end(*_: object) -> None:
        raise AssertionError(f"no end after {seconds} s of {what}")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("use", list(uses()))
def test_a_pattern_comes_to_an_end_on_any_text(use: Use) -> None:
    compiled = re.compile(use.pattern, use.flags)
    for text in _TEXTS:
        given = text.encode() if isinstance(use.pattern, bytes) else text
        for method in use.methods:
            with seconds_of_cpu(_SECONDS, f"{method} in {text[:20]!r}…{text[-5:]!r}"):
                getattr(compiled, method)(given)


def test_markup_that_never_ends_is_looked_through_once() -> None:
    for begins in ("<!--", "<script>", "<!--<style>"):
        text = begins * 50_000
        with seconds_of_cpu(5 * _SECONDS, f"what {begins} hides"):
            assert repair_text.strip_markup(text) == text.replace("<script>", "").replace("<style>", "")


def test_personal_data_upon_personal_data_is_masked_in_one_pass() -> None:
    text = "a@b.cc +49 170 1234567 " * 30_000
    with seconds_of_cpu(5 * _SECONDS, "what is personal"):
        assert repair_text.mask_personal(text) == "[email] [phone] " * 30_000


@pytest.mark.parametrize(
    "read",
    [
        cells.name,
        columns.plain,
        index.fold,
        label_names.folded,
        lambda text: shingles.fold([text, "ﬁn"]),
        lambda text: entries.clean_path(f"{text}.png"),
    ],
)
@pytest.mark.parametrize("marks", ["\u0315\u0300", "\u0f73"])
def test_marks_upon_marks_are_not_put_in_order(read: Callable[[str], object], marks: str) -> None:
    with seconds_of_cpu(_SECONDS, f"{marks!r} * n"):
        read("a" + marks * 60_000)


def test_a_text_with_many_marks_is_still_one() -> None:
    """Vietnamese has two on a letter, whoever plays with them dozens."""
    for text in ("Tiê\u0301ng Vie\u0323\u0302t " * 100, "Z" + "\u0315\u0300" * 100 + "algo " * 100):
        assert cells.name(text) == unicodedata.normalize("NFC", text).strip()
    assert shingles.fold(["a" + "\u0315\u0300" * 9000, "ﬁn"]).chars[-3:].tolist() == list(map(ord, "fin"))
