"""Appending images: those of an earlier version, as they are, and after them those of an archive."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from workers.contracts.job import IngestLimits
from workers.ingest import image_lists, label_sets, layout
from workers.ingest.archives import open_archive
from workers.ingest.archives.entries import Archive, Entry
from workers.ingest.edits import EditedImages
from workers.ingest.image_lists import Lists
from workers.ingest.layout import Place
from workers.ingest.reading import UNDECIDED_CELL
from workers.ingest.records import Problem
from workers.ingest.sniff import Format

Places = dict[str, Place | Problem]


def places_in(path: Path, format: Format, limits: IngestLimits, separator: str) -> Places:
    """What an archive says of its images, by its lists or else its folders; lists themselves are left out."""
    lists, names = Lists(limits, separator), []
    with open_archive(path, format, limits) as archive:
        for entry in archive:
            if entry.is_junk or entry.problem:
                continue
            if entry.name.lower().endswith(image_lists.ENDINGS):
                content = entry.read(image_lists.MAX_BYTES)
                if isinstance(content, bytes) and lists.take(entry.parts, content):
                    continue
            names.append("/".join(entry.parts))
    listed = lists.places(names)
    if listed is None:
        folders = {name: tuple(name.split("/")[:-1]) for name in names}
        known = layout.places(set(folders.values()))
        listed = [known[folders[name]] for name in names]
    return dict(zip(names, listed, strict=True))


def free_folder(names: set[str]) -> str:
    """A folder that none of the names lies in."""
    taken = {name.partition("/")[0] for name in names}
    return next(folder for number in range(1, len(taken) + 2) if (folder := f"added-{number}") not in taken)


class AppendedImages(Archive):
    """Images of a version by their rows, counted from 0, then those of an archive by its entries, below a folder of
    their own; the labels and splits of all go to `lists`."""

    def __init__(self, earlier: EditedImages, new: Archive, places: Places, folder: str, lists: Lists) -> None:
        self._earlier, self._new = earlier, new
        self._places, self._folder, self._lists = places, folder, lists

    def __iter__(self) -> Iterator[Entry]:
        yield from self._earlier
        for entry in self._new:
            place = self._places.get("/".join(entry.parts))
            if entry.is_junk or entry.problem:
                yield entry
            elif place is not None:
                added = _Added(entry, self._folder)
                if isinstance(place, Place):
                    label = place.label if isinstance(place.label, str) else label_sets.text(place.label)
                    self._lists.add("/".join(added.parts), label, place.split or UNDECIDED_CELL)
                else:
                    added.problem = place
                yield added

    def fraction(self) -> float:
        """As if both were alike in size."""
        return (self._earlier.fraction() + self._new.fraction()) / 2

    def close(self) -> None:
        """Nothing: both have their owners."""


class _Added(Entry):
    def __init__(self, entry: Entry, folder: str) -> None:
        super().__init__(entry.number, "/".join((folder, *entry.parts)))
        self._entry = entry

    def write_to(self, target: BinaryIO, limit: int) -> Problem | None:
        """Copy the image's bytes."""
        return self._entry.write_to(target, limit)
