"""Lists of labels beside images: a table of file names and labels, or COCO's JSON, anywhere in the archive."""

import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from workers.contracts.errors import JobError
from workers.contracts.job import IngestLimits
from workers.ingest import cells, columns, label_sets, sniff
from workers.ingest.label_sets import LabelSet
from workers.ingest.layout import Folder, Place
from workers.ingest.readers import open_table
from workers.ingest.records import Problem, Table

ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
MAX_BYTES = 64 * 2**20
_MAX_LISTS = 50
# What the column of the images is called; compared as columns are (see columns.plain).
_FILE_NAMES = ("filename", "file", "filepath", "path", "image", "imagepath", "imagename", "img", "name", "id")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
# What competitions ask for back: its labels are made up.
_MADE_UP = "sample"
# Lists count where they name this share of the images; else folders do.
_SHARE = 0.5


class _Line(NamedTuple):
    """What a list says of one image."""

    file: str
    label: str | LabelSet
    split: str | None


class Lists:
    """The lists of an archive, as they turn up, and what they say of its images. The `options` of a mapping say
    how labels stand in cells (see label_sets)."""

    def __init__(self, limits: IngestLimits, options: Mapping[str, str] | None = None) -> None:
        self._limits = limits
        self._separator = (options or {}).get(label_sets.OPTION, "")
        self._empty = label_sets.NO_LABELS if (options or {}).get(label_sets.EMPTY) == label_sets.NONE else ""
        self.names: list[str] = []
        # By the whole path, by the file's name, and by that without its ending; None where lists disagree.
        self._known: tuple[dict[str, _Line | None], ...] = ({}, {}, {})

    def take(self, parts: Folder, content: bytes) -> bool:
        """Read a file of the archive; False where it is no list of images and labels."""
        name = parts[-1]
        if len(self.names) >= _MAX_LISTS or name.lower().startswith(_MADE_UP):
            return False
        try:
            lines = list(_coco(content) or self._table(content, name))
        except JobError:
            return False
        for line in lines:
            self._add(posixpath.normpath("/".join((*parts[:-1], line.file.replace("\\", "/")))), line)
        if lines:
            self.names.append("/".join(parts))
        return bool(lines)

    def add(self, path: str, cell: str, split: str | None) -> None:
        """What is known of one image from elsewhere; `cell` is its label as written, blank where it has none."""
        if (label := self._labels(cell)) is not None:
            self._add(path, _Line(path, label, split))

    def _add(self, path: str, line: _Line) -> None:
        for known, key in zip(self._known, _keys(path), strict=True):
            known[key] = line if known.get(key, line) == line else None

    def places(self, names: list[str]) -> list[Place | Problem] | None:
        """The place of each image, by its path; None where the lists do not say enough."""
        found = [self._line(name) for name in names]
        if sum(line is not None for line in found) < max(1, _SHARE * len(names)):
            return None
        splits = [line and (line.split or _split_of(name)) for name, line in zip(names, found, strict=True)]
        # A split is everybody's or nobody's.
        has_splits = all(split for line, split in zip(found, splits, strict=True) if line)
        return [
            Place(line.label, split if has_splits else None)
            if line
            else Problem("entry_no_class", f"No label is given for this image{self._where}.")
            for line, split in zip(found, splits, strict=True)
        ]

    def _labels(self, cell: str) -> str | LabelSet | None:
        """What a cell says; None where it is blank and that says nothing."""
        written = cell if cell.strip() else self._empty
        if not written:
            return None
        several = label_sets.read(written, self._separator)
        return several if several is not None else cells.name(written) or None

    def _table(self, content: bytes, name: str) -> Iterator[_Line]:
        """The lines of a table with a column of images and one of labels; none where it has not. Raises JobError."""
        format = sniff.sniff(content, name)
        if format not in ("csv", "json", "jsonl"):
            return
        table = open_table(content, format, name, self._limits)
        file = _file_column(table)
        label = _label_column(table, file)
        if file is None or label is None:
            return
        split = next(iter(columns.named("split", table.columns)), None)
        of_file = cells.split(name.partition(".")[0])
        at = {column: place for place, column in enumerate(table.columns)}
        for record in table.records():
            if record.problem or not (path := record.fields[at[file]].strip()):
                continue
            own = cells.split(record.fields[at[split]]) if split else None
            if (labels := self._labels(record.fields[at[label]])) is not None:
                yield _Line(path, labels, own or of_file)

    @property
    def _where(self) -> str:
        return f" in {', '.join(self.names[:3])[:200]}" if self.names else ""

    def _line(self, name: str) -> _Line | None:
        return next((known[key] for known, key in zip(self._known, _keys(name), strict=True) if known.get(key)), None)


def without_odd_lists(places: list[Place | Problem]) -> list[Place | Problem]:
    """Where few images have a list of labels and the others one each, these are refused, but for lists of one."""
    labels = [place.label for place in places if isinstance(place, Place)]
    lists = sum(isinstance(label, tuple) for label in labels)
    if not lists or label_sets.are_usual(lists, len(labels)):
        return places
    return [_alone(place) for place in places]


def _alone(place: Place | Problem) -> Place | Problem:
    if isinstance(place, Problem) or isinstance(place.label, str):
        return place
    if len(place.label) == 1:
        return place._replace(label=place.label[0])
    message = f"The image has {len(place.label)} labels; the others have one each."
    return Problem("label_list", message, value=label_sets.text(place.label))


def _keys(path: str) -> tuple[str, str, str]:
    base = path.rpartition("/")[2]
    stem = base.rpartition(".")[0] if base.lower().endswith(IMAGE_ENDINGS) else base
    return path, base, stem


def _split_of(path: str) -> str | None:
    """The split that one of the folders of a path is named after."""
    return next((split for part in path.split("/")[:-1] if (split := cells.split(part))), None)


def _file_column(table: Table) -> str | None:
    for place, column in enumerate(table.columns):
        if any(fields[place].lower().strip().endswith(IMAGE_ENDINGS) for fields in table.head[:20]):
            return column
    plain = {columns.plain(column): column for column in table.columns}
    return next((plain[name] for name in _FILE_NAMES if name in plain), None)


def _label_column(table: Table, file: str | None) -> str | None:
    """By its name; else, of two columns, the other one."""
    named = [column for column in columns.named("label", table.columns) if column != file]
    others = [column for column in table.columns if column != file]
    return next(iter(named), others[0] if len(others) == 1 else None)


def _coco(content: bytes) -> list[_Line]:
    """Images and the categories of their annotations; [] for what is no COCO file.

    Format: cocodataset.org, object detection. Where some image has several categories, each has a set of them, and
    those without annotations the empty one; else those have no label.
    """
    if content.lstrip()[:1] != b"{":
        return []
    try:
        found: Any = orjson.loads(content)
        names = {one["id"]: str(one["name"]) for one in found["categories"]}
        files = {one["id"]: str(one["file_name"]) for one in found["images"]}
        seen: dict[Any, set[str]] = defaultdict(set)
        for one in found["annotations"]:
            seen[one["image_id"]].add(names[one["category_id"]])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return []
    if any(len(labels) > 1 for labels in seen.values()):
        return [_Line(file, label_sets.of(seen[id]), None) for id, file in files.items()]
    return [_Line(files[id], cells.name(*labels), None) for id, labels in seen.items() if id in files]
