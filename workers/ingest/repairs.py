"""THE table of repairs: what can be done about a finding of the data doctor, as an edit computed from the data.

A new repair is a line in REPAIRS and a function from a version to an Edit.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from workers.ingest import label_names, label_sets, repair_text
from workers.ingest.edits import Edit
from workers.ingest.items import SMALL_CLASS
from workers.ingest.splits import Ints
from workers.ingest.version import Mask, Version

Plan = Callable[[Version], Edit]


class Repair(NamedTuple):
    """`code`: the finding that it cures; `name`: its own; `title`: the button; `does`: one sentence."""

    code: str
    name: str
    title: str
    does: str
    plan: Plan


def _merged(groups: Callable[[dict[str, int]], list[list[str]]], version: Version) -> Edit:
    """`groups` of labels, of each the most frequent first, which the others become."""
    renamed = {other: best for best, *others in groups(version.classes) for other in others}
    if version.is_multi_label:
        return _in_sets(version, lambda label: renamed.get(label, label))
    return Edit(renamed=renamed)


def _in_sets(version: Version, change: Callable[[str], str]) -> Edit:
    """Every label of every set becomes what `change` makes of it, also of those that are suggested; "" is none."""
    texts = {*version.labels[0], *version.suspects().values()}
    changed = {text: label_sets.text(label_sets.of(map(change, version.labels_in(text)))) for text in texts}
    return Edit(renamed={text: new for text, new in changed.items() if new != text})


def _mended(mend: Callable[[str], str], version: Version) -> Edit:
    return Edit(mend=mend)


def _without_repeats(version: Version) -> Edit:
    """Equal items with different labels all stay: which label is right is another question."""
    names, codes = version.labels
    _, firsts = np.unique(version.items * len(names) + codes, return_index=True)
    drop = np.ones(version.rows, np.bool_)
    drop[firsts] = False
    return Edit(drop=drop)


def _without_leaks(version: Version) -> Edit:
    """What an item's copy in test, or else in validation, proves must not have been learned: its other copies go."""
    items = version.items
    latest = np.zeros(items.max(initial=-1) + 1, np.int8)
    np.maximum.at(latest, items, version.splits)
    return Edit(drop=version.splits < latest[items])


def _conflicting(version: Version) -> tuple[Ints, Ints]:
    """The rows of items that have several labels, in the order of items, and of each the item."""
    items, labels = version.items, version.labels[1]
    least, most = (np.full(items.max(initial=-1) + 1, start, np.int64) for start in (np.iinfo(np.int64).max, -1))
    np.minimum.at(least, items, labels)
    np.maximum.at(most, items, labels)
    rows = np.flatnonzero((least != most)[items])
    rows = rows[np.argsort(items[rows], kind="stable")]
    return rows, items[rows]


def _without_conflicts(version: Version) -> Edit:
    return Edit(drop=_mask(version, _conflicting(version)[0]))


def _majority(version: Version) -> Edit:
    """Every row of an item gets the label that most of its rows have; where none has most, all of them go."""
    names, codes = version.labels
    rows, items = _conflicting(version)
    labels: dict[int, str] = {}
    undecided: list[Ints] = []
    for group in np.split(rows, np.flatnonzero(np.diff(items)) + 1) if len(rows) else ():
        found, counts = np.unique(codes[group], return_counts=True)
        if (counts == counts.max()).sum() > 1:
            undecided.append(group)
        else:
            labels |= dict.fromkeys(group.tolist(), names[found[counts.argmax()]])
    return Edit(labels=labels, drop=_mask(version, np.concatenate([np.empty(0, np.int64), *undecided])))


def _without_small_classes(version: Version) -> Edit:
    if version.is_multi_label:
        # The rows stay, with the other labels that they have.
        return _in_sets(version, lambda label: label if version.classes[label] >= SMALL_CLASS else "")
    names, codes = version.labels
    return Edit(drop=(np.bincount(codes, minlength=len(names)) < SMALL_CLASS)[codes])


def _without_once(column: str, version: Version) -> Edit:
    names, codes = version.coded(column)
    return Edit(drop=(np.bincount(codes, minlength=len(names)) == 1)[codes])


def _without_future(version: Version) -> Edit:
    if "timestamp" not in version.schema.names:
        return Edit()
    return Edit(drop=version.numbers("timestamp") > time.time())


def _without_found(code: str, version: Version) -> Edit:
    return Edit(drop=_mask(version, version.found(code)))


def _suggested(version: Version) -> Edit:
    return Edit(labels=version.suspects())


def _mask(version: Version, rows: Ints) -> Mask:
    mask = np.zeros(version.rows, np.bool_)
    mask[rows] = True
    return mask


REPAIRS: Final = (
    Repair(
        "class_similar",
        "merge-labels",
        "Merge the labels",
        "Labels that differ only in how they are written become the most frequent spelling.",
        partial(_merged, label_names.similar),
    ),
    Repair(
        "class_typo",
        "merge-typos",
        "Merge the labels",
        "Labels that look like misspellings of another become that one.",
        partial(_merged, label_names.typos),
    ),
    Repair(
        "text_mojibake",
        "mend-encoding",
        "Mend the letters",
        "Broken letters become again what they were, as far as that can be told.",
        partial(_mended, repair_text.mend_encoding),
    ),
    Repair(
        "text_markup",
        "strip-markup",
        "Take out the markup",
        "Tags and comments go, and codes such as &amp; become the characters that they stand for.",
        partial(_mended, repair_text.strip_markup),
    ),
    Repair(
        "text_personal",
        "mask-personal",
        "Mask personal data",
        "E-mail addresses, phone numbers and payment cards become [email], [phone] and [card].",
        partial(_mended, repair_text.mask_personal),
    ),
    Repair(
        "duplicate_rows",
        "drop-repeats",
        "Keep each item once",
        "Of equal rows with the same label the first stays and the others go.",
        _without_repeats,
    ),
    Repair(
        "duplicate_conflict",
        "drop-conflicts",
        "Drop these items",
        "All rows of an item that has several labels go.",
        _without_conflicts,
    ),
    Repair(
        "duplicate_conflict",
        "keep-majority",
        "Keep the most frequent label",
        "Each item gets the label that most of its rows have; where none has most, its rows go.",
        _majority,
    ),
    Repair(
        "duplicate_across_splits",
        "drop-leaks",
        "Take out of training what is tested",
        "Of an item in several splits the copies in test stay, or else those in validation; the others go.",
        _without_leaks,
    ),
    Repair(
        "near_duplicate",
        "drop-near-repeats",
        "Keep one of each",
        "Of rows that are nearly the same the first stays and the others go.",
        partial(_without_found, "near_duplicate"),
    ),
    Repair(
        "near_duplicate_conflict",
        "drop-near-conflicts",
        "Drop these items",
        "Rows that are nearly the same and have different labels go, all of them.",
        partial(_without_found, "near_duplicate_conflict"),
    ),
    Repair(
        "near_duplicate_across_splits",
        "drop-near-leaks",
        "Take out of training what is tested",
        "Rows in training that are nearly the same as one in test or validation go, and so those in validation.",
        partial(_without_found, "near_duplicate_across_splits"),
    ),
    Repair(
        "class_small",
        "drop-small-classes",
        "Drop small classes",
        f"All rows of classes with fewer than {SMALL_CLASS} examples go; of several labels of a row only these.",
        _without_small_classes,
    ),
    Repair(
        "user_once",
        "drop-single-users",
        "Drop these users",
        "Interactions of users who have only one go.",
        partial(_without_once, "user"),
    ),
    Repair(
        "item_once",
        "drop-single-items",
        "Drop these items",
        "Interactions with items that have only one go.",
        partial(_without_once, "item"),
    ),
    Repair(
        "timestamp_future",
        "drop-future",
        "Drop what lies ahead",
        "Interactions whose time lies in the future go.",
        _without_future,
    ),
    Repair(
        "label_suspect",
        "accept-suggestions",
        "Accept the suggestions",
        "Labels that look wrong become what the model suggests; of several labels of a row only those change.",
        _suggested,
    ),
)


def repairs_of(code: str) -> list[Repair]:
    """What can be done about a finding; the usual way first."""
    return [repair for repair in REPAIRS if repair.code == code]


def by_name(name: str) -> Repair:
    """The repair of this name. Raises KeyError."""
    return {repair.name: repair for repair in REPAIRS}[name]
