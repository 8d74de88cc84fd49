"""What is kept in memory of the rows of a classification dataset, 13 bytes each, and what is decided from it."""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.contracts.errors import CATALOGUE, JobError
from workers.contracts.job import SPLITS
from workers.contracts.manifest import IngestResult
from workers.ingest import duplicates, finish, label_names, label_sets, near, splits
from workers.ingest.coding import LineNumbers, Places
from workers.ingest.context import Import, OtherwiseError
from workers.ingest.hashing import Hashes
from workers.ingest.issues import Severity
from workers.ingest.label_sets import LabelSet
from workers.ingest.parquet_out import with_labels
from workers.ingest.splits import Codes, Ints, Members

MIN_ROWS = 10
MAX_CLASSES = 10_000
SMALL_CLASS = 10
_IMBALANCE = 10


class Items:
    """Hash, label (or labels), given split and line of each accepted row, in order.

    Rows have several labels each as soon as one row comes with a set of them: plain labels are sets of one then.
    """

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._labels = array("i")
        self._given = array("b")
        self.lines = LineNumbers()
        self._codes: dict[str | LabelSet, int] = {}
        self._different: set[str] = set()

    def __len__(self) -> int:
        return len(self._hashes)

    def extend(
        self,
        hashes: Hashes,
        labels: Sequence[str | LabelSet],
        places: Places,
        lines: npt.NDArray[Any],
        given: Codes | None,
    ) -> None:
        """Accepted rows: different labels in order of appearance, each row's place among them, and the given splits.

        Raises JobError too_many_classes.
        """
        codes = [self._codes.setdefault(label, len(self._codes)) for label in labels]
        for place, label in enumerate(labels):
            self._different.update((label,) if isinstance(label, str) else label)
            if len(self._different) > MAX_CLASSES:
                line = int(lines[np.argmax(places == place)])
                evidence = f"Line {line}, label {str(label)[:80]!r}, is the {MAX_CLASSES + 1:,}th class."
                raise JobError("too_many_classes", evidence=evidence)
        self._hashes.frombytes(hashes.tobytes())
        self._labels.frombytes(np.array(codes, np.int32)[places].tobytes())
        self._given.frombytes(b"" if given is None else given.tobytes())
        self.lines.extend(lines)

    @property
    def hashes(self) -> Hashes:
        """uint64, one per row."""
        return np.frombuffer(self._hashes, np.uint64)

    @property
    def labels(self) -> Ints:
        """Places in `names`, one per row."""
        codes = np.frombuffer(self._labels, np.int32)
        if self.sets is None:
            return codes
        # A plain label and the set of it alone are the same.
        place = {labels: number for number, labels in enumerate(self.sets)}
        return np.array([place[_as_set(label)] for label in self._codes], np.int32)[codes]

    @property
    def given(self) -> Codes | None:
        """The split that the file gives each row, or None if it gives none."""
        return np.frombuffer(self._given, np.int8) if len(self._given) else None

    def settle(self, seed: int, hashes: Hashes) -> None:
        """Give the rows that were added to an earlier version's their splits; those rows keep the ones they have.

        `hashes`: of each row, equal for those that are to be in one split.
        """
        if (given := self.given) is not None and (given == splits.UNDECIDED).any():
            settled = splits.added(hashes, self.labels, self.members()[1], given, seed)
            self._given = array("b", settled.tobytes())

    @property
    def sets(self) -> list[LabelSet] | None:
        """The different sets of labels, in order of appearance; None where each row has one label."""
        if not any(isinstance(label, tuple) for label in self._codes):
            return None
        return list(dict.fromkeys(map(_as_set, self._codes)))

    @property
    def names(self) -> list[str]:
        """The labels, in order of appearance; sets of them as JSON."""
        if self.sets is None:
            return [label for label in self._codes if isinstance(label, str)]
        return [label_sets.text(labels) for labels in self.sets]

    @property
    def _listed(self) -> npt.NDArray[np.bool_]:
        """Whether each row came with a set of labels, not with a plain one."""
        kinds = np.array([isinstance(label, tuple) for label in self._codes], np.bool_)
        return kinds[np.frombuffer(self._labels, np.int32)]

    def check_lists(self, several: bool, refused: int) -> None:
        """Whether rows were rightly read as having `several` labels each; `refused` ones had lists and are not here.

        Raises OtherwiseError.
        """
        lists = int(self._listed.sum()) + refused
        if label_sets.are_usual(lists, len(self) + refused) != several:
            raise OtherwiseError(several=not several)

    @property
    def mixed(self) -> Ints:
        """Where some rows came with a set of labels and others with a plain one, the rows of the fewer kind."""
        listed = self._listed
        if listed.all() or not listed.any():
            return np.empty(0, np.int64)
        return np.flatnonzero(listed == (2 * listed.sum() <= len(listed)))

    def members(self) -> tuple[list[str], Members]:
        """The classes in order of appearance, and each row's: once for each of its labels, in the order of rows."""
        if self.sets is None:
            return self.names, Members(np.arange(len(self), dtype=np.int32), self.labels)
        place = {name: number for number, name in enumerate(dict.fromkeys(name for one in self.sets for name in one))}
        sizes = np.array([len(one) for one in self.sets], np.int64)
        flat = np.array([place[name] for one in self.sets for name in one], np.int64)
        labels = self.labels
        counts = sizes[labels]
        # Where each row's labels begin in `flat`, and then one after the other.
        starts = np.repeat(np.cumsum(sizes)[labels] - counts, counts)
        within = np.arange(len(starts)) - np.repeat(np.cumsum(counts) - counts, counts)
        return list(place), Members(np.repeat(np.arange(len(self)), counts), flat[starts + within])

    def classes(self) -> dict[str, int]:
        """Label → rows that have it, sorted by label."""
        names, members = self.members()
        counts = np.bincount(members.labels, minlength=len(names)).tolist()
        return dict(sorted(zip(names, counts, strict=True)))


def _as_set(label: str | LabelSet) -> LabelSet:
    return (label,) if isinstance(label, str) else label


def check(ctx: Import, items: Items) -> None:
    """Whether a classifier can be trained at all. Raises JobError no_rows, one_class_only, too_few_rows."""
    if not len(items):
        raise no_rows(ctx)
    if len(items.names) == 1:
        raise JobError("one_class_only", evidence=f"Every usable row has the label {items.names[0][:80]!r}.")
    if len(items) < MIN_ROWS:
        raise JobError("too_few_rows", f"There are {len(items)} usable rows; {MIN_ROWS} are the least.")


def no_rows(ctx: Import) -> JobError:
    """The error of a file without one usable row, with the most frequent problem as evidence."""
    if not ctx.rejected:
        return JobError("no_rows", "The file holds no rows.", hint="Export it again, with its rows.")
    worst = ctx.issues.as_list()[0]
    where = f", first in line {worst['examples'][0]['line']}" if worst["examples"] else ""
    return JobError("no_rows", evidence=f"{worst['count']:,} × {worst['code']}: {worst['message']}{where}")


def examine(ctx: Import, items: Items, column: str, places: Ints | None = None) -> duplicates.Duplicates:
    """Tell duplicates and weak classes as issues.

    `column` shows an item to a person; `places`: where each item is staged, if not at its own place.
    """
    found = duplicates.find(items.hashes, items.labels, items.given, ctx.limits.max_examples_per_issue)
    examples = found.repeated_examples + found.conflict_examples + found.straddling_examples
    rows = {row: row if places is None else int(places[row]) for pair in examples for row in pair}
    cells = ctx.staged.cells(column, set(rows.values()))
    _tell_duplicates(ctx, items, found, {row: cells[place] for row, place in rows.items()})
    _tell_classes(ctx, items)
    return found


def write(
    ctx: Import,
    items: Items,
    schema: pa.Schema,
    *,
    shown: str,
    columns: list[dict[str, str]],
    mapping: dict[str, str],
    profile: dict[str, Any],
    keep: finish.Mask | None = None,
    first: Ints | None = None,
    what: str = "rows",
) -> IngestResult:
    """Examine the staged items (see `examine`), decide their splits and write them. Raises JobError.

    `keep`: which of the staged rows the items are, where not all. `first`: of each the first item that is nearly the
    same, where that was looked for.
    """
    groups_of = items.hashes if first is None else items.hashes[near.kept_together(first, items.hashes)]
    items.settle(ctx.spec.seed, groups_of)
    codes, facts = _decide(ctx, items, shown, None if keep is None else np.flatnonzero(keep), first)
    if items.sets is not None:
        schema, columns = with_labels(schema, columns)
    labels = finish.Labels(items.names, items.labels, items.sets)
    groups = None if first is None else near.column(near.kept_together(first, items.hashes), items.hashes)
    written = finish.write(ctx, schema, codes, labels, keep=keep, groups=groups, what=what)
    profile = {"rows_in_file": written.rows + ctx.rejected, **facts, **about_labels(items), **profile}
    return finish.result(ctx, written, columns=columns, mapping=mapping, classes=items.classes(), profile=profile)


def about_labels(items: Items) -> dict[str, Any]:
    """Facts for the profile of rows that have several labels: how many a row has on average and at most, how many rows
    have none."""
    if items.sets is None:
        return {}
    sizes = np.array([len(labels) for labels in items.sets])[items.labels]
    per_row = {"mean": round(float(sizes.mean()), 3), "max": int(sizes.max()), "none": int((sizes == 0).sum())}
    return {"multi_label": True, "labels_per_row": per_row}


def _decide(
    ctx: Import, items: Items, column: str, places: Ints | None, first: Ints | None
) -> tuple[Codes, dict[str, Any]]:
    found = examine(ctx, items, column, places)
    given, members = items.given, items.members()[1]
    codes = splits.by_content(items.hashes, members, given, found.conflicts, ctx.spec.seed)
    if first is not None:
        # Rows of a group go where its first one goes, unless groups are so few that a split would be empty.
        hashes = items.hashes[near.kept_together(first, items.hashes)]
        conflicts = duplicates.find(hashes, items.labels, None, 0).conflicts
        together = splits.by_content(hashes, members, given, conflicts, ctx.spec.seed)
        codes = together if len(np.unique(together)) == len(np.unique(codes)) else codes
        rows = near.Rows(items.hashes, items.labels, codes, items.lines, items.names)
        near.tell(ctx, rows, first, column, places)
    carved = [] if given is None else [SPLITS[code] for code in splits.missing(given)]
    by = "hash" if given is None else "file"
    return codes, {"split": {"by": by, "carved": carved}, "duplicates": len(found.repeated)}


def _tell_duplicates(ctx: Import, items: Items, found: duplicates.Duplicates, shown: dict[int, str]) -> None:
    lines, labels, names = items.lines, items.labels, items.names
    told: tuple[tuple[str, list[tuple[int, int]], Ints, Severity], ...] = (
        ("duplicate_rows", found.repeated_examples, found.repeated, "info"),
        ("duplicate_conflict", found.conflict_examples, found.conflicting, "warning"),
        ("duplicate_across_splits", found.straddling_examples, found.straddling, "warning"),
    )
    for code, pairs, rows, severity in told:
        for first, later in pairs:
            value = shown[later][:150]
            if code == "duplicate_conflict":
                value = f"{names[labels[first]]} (line {lines[first]}) / {names[labels[later]]}: {value}"
            else:
                value = f"as line {lines[first]}: {value}"
            ctx.issues.add(code, severity, line=int(lines[later]), value=value, count=0)
        if len(rows):
            ctx.issues.add(code, severity, count=len(rows))
            ctx.findings.extend(rows, code)


def _tell_classes(ctx: Import, items: Items) -> None:
    classes = items.classes()
    names, members = items.members()
    firsts = np.zeros(len(names), np.int64)
    # Of several values for one place the last one stays.
    firsts[members.labels[::-1]] = members.rows[::-1]
    lines = {name: int(items.lines[row]) for name, row in zip(names, firsts.tolist(), strict=True)}
    for name, count in sorted(classes.items(), key=lambda one: one[1]):
        if count < SMALL_CLASS:
            ctx.issues.add("class_small", "warning", line=lines[name], value=f"{name}: {count}")
    most, least = max(classes, key=lambda one: classes[one]), min(classes, key=lambda one: classes[one])
    if classes[most] >= _IMBALANCE * classes[least]:
        value = f"{most}: {classes[most]:,}, {least}: {classes[least]:,}"
        ctx.issues.add("class_imbalance", "warning", line=lines[least], value=value)
    named: tuple[tuple[str, list[list[str]]], ...] = (
        ("class_similar", label_names.similar(classes)),
        ("class_typo", label_names.typos(classes)),
    )
    for code, groups in named:
        _tell_names(ctx, items, code, groups, classes, lines)
    mixed = items.mixed
    for row in mixed[: ctx.limits.max_examples_per_issue].tolist():
        value = items.names[items.labels[row]]
        ctx.issues.add("labels_mixed", "warning", line=int(items.lines[row]), value=value, count=0)
    if len(mixed):
        ctx.issues.add("labels_mixed", "warning", count=len(mixed))
        ctx.findings.extend(mixed, "labels_mixed")
    if items.sets is None and (separator := label_sets.guess_separator(classes)):
        together = [name for name in names if separator in name]
        for name in together:
            ctx.issues.add("labels_in_one", "info", line=lines[name], value=name, count=0)
        ctx.issues.add("labels_in_one", "info", count=len(together))


def _tell_names(
    ctx: Import,
    items: Items,
    code: str,
    groups: list[list[str]],
    classes: dict[str, int],
    lines: dict[str, int],
) -> None:
    """Groups of labels that look like one; the findings are on the rows of all but the most frequent of each."""
    if not groups:
        return
    shown = [label_names.described(group, classes) for group in groups]
    message = f"{CATALOGUE[code].message.rstrip('.')}: {'; '.join(shown[:3])}{'; …' if len(shown) > 3 else '.'}"
    others = {name for group in groups for name in group[1:]}
    names, members = items.members()
    codes = [place for place, name in enumerate(names) if name in others]
    rows = np.unique(members.rows[np.isin(members.labels, codes)])
    for group, value in zip(groups, shown, strict=True):
        line = min(lines[name] for name in group[1:])
        ctx.issues.add(code, "warning", line=line, value=value, count=0, message=message)
    ctx.issues.add(code, "warning", count=len(rows))
    ctx.findings.extend(rows, code)
