"""Images of several files as one archive: each file's below a folder of their own, so that no names mix up.

A file's folders or lists say what its images are; what they say is told to the lists of labels of the whole.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from workers.contracts.errors import JobError
from workers.contracts.job import IngestLimits
from workers.ingest import image_lists, label_sets, layout, sniff, unpack
from workers.ingest.archives import open_archive
from workers.ingest.archives.entries import Archive, Entry, clean_path
from workers.ingest.archives.parquet_images import ParquetImages
from workers.ingest.context import Import
from workers.ingest.image_lists import Lists
from workers.ingest.layout import Place
from workers.ingest.readers.joined import split_of
from workers.ingest.records import Problem
from workers.ingest.sniff import Format
from workers.ingest.unpack import File

Places = dict[str, Place | Problem]


class JoinedImages(Archive):
    """The images of one archive after the other."""

    def __init__(self, parts: list[Archive]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[Entry]:
        for part in self._parts:
            yield from part

    def fraction(self) -> float:
        """As if all were alike in size."""
        return sum(part.fraction() for part in self._parts) / len(self._parts)

    def close(self) -> None:
        """Close all."""
        for part in self._parts:
            part.close()


class PlacedImages(Archive):
    """The images of an archive below a folder; their labels go to `lists`, with the split of each or else `split`."""

    def __init__(self, archive: Archive, places: Places, folder: str, split: str | None, lists: Lists) -> None:
        self._archive, self._places, self._folder = archive, places, folder
        self._split, self._lists = split, lists

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._archive:
            place = self._places.get("/".join(entry.parts))
            if entry.is_junk or entry.problem:
                yield entry
            elif place is not None:
                below = _Below(entry, self._folder)
                if isinstance(place, Place):
                    label = place.label if isinstance(place.label, str) else label_sets.text(place.label)
                    self._lists.add("/".join(below.parts), label, place.split or self._split)
                else:
                    below.problem = place
                yield below

    def fraction(self) -> float:
        """That of the archive."""
        return self._archive.fraction()

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()


class _Below(Entry):
    def __init__(self, entry: Entry, folder: str) -> None:
        super().__init__(entry.number, "/".join((folder, *entry.parts)))
        self._entry = entry

    def write_to(self, target: BinaryIO, limit: int) -> Problem | None:
        """Copy the image's bytes."""
        return self._entry.write_to(target, limit)


def opened(ctx: Import, files: list[File], folders: list[str], lists: Lists, split: str | None = None) -> list[Archive]:
    """The images of each file below its folder. What a file does not say itself, and not by its name where all files
    are named after a split, is `split`. Raises JobError."""
    named = [split_of(file.name) for file in files]
    splits = named if all(named) and len(files) > 1 else [split] * len(files)
    with ExitStack() as stack:
        parts = []
        for file, folder, part in zip(files, folders, splits, strict=True):
            if (rows := parquet_in(ctx, file)) is not None:
                archive: Archive = ParquetImages(rows, ctx.limits, lists, folder, part)
            else:
                places = places_in(file.path, file.format, ctx.limits, ctx.spec.mapping)
                archive = PlacedImages(open_archive(file.path, file.format, ctx.limits), places, folder, part, lists)
            parts.append(stack.enter_context(archive))
        stack.pop_all()
    return parts


def parquet_in(ctx: Import, file: File) -> list[tuple[str, Path]] | None:
    """The Parquet files that a file is or holds; None of an archive of images. Raises JobError for anything else."""
    if file.format not in (*sniff.ARCHIVES, "parquet"):
        hint = "Put each image into a folder named like its class, and zip the folders."
        raise JobError("format_unknown", "Images come as a zip or tar of class folders.", hint=hint)
    if file.format != "parquet" and not unpack.holds_parquet(ctx, file):
        return None
    files = [file] if file.format == "parquet" else unpack.tables(ctx, file)
    return [(one.name, one.path) for one in files if one.format == "parquet"]


def places_in(path: Path, format: Format, limits: IngestLimits, options: Mapping[str, str]) -> Places:
    """What an archive says of its images, by its lists or else its folders; lists themselves are left out."""
    lists, names = Lists(limits, options), []
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


def added_folders(names: set[str], count: int) -> list[str]:
    """So many folders that none of the names lies in."""
    taken = {name.partition("/")[0] for name in names}
    free = (folder for number in range(1, len(taken) + count + 1) if (folder := f"added-{number}") not in taken)
    return [folder for folder, _ in zip(free, range(count), strict=False)]


def named_folders(names: list[str]) -> list[str]:
    """A folder for each file, called after it; all different."""
    found: list[str] = []
    for number, name in enumerate(names, 1):
        parts, _ = clean_path(name)
        stem = parts[-1].partition(".")[0] if parts else ""
        found.append(stem if stem and stem not in found else f"{stem or 'images'}-{number}")
    return found
