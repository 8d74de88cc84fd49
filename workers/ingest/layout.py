"""What an archive's folders mean: class folders, perhaps below split folders, perhaps all below one folder."""

from typing import NamedTuple

from workers.ingest import cells
from workers.ingest.label_sets import LabelSet
from workers.ingest.records import Problem

Folder = tuple[str, ...]
_MAX_TOPS = 3


class Place(NamedTuple):
    """Where an image belongs; `split` None where the archive has no split folders."""

    label: str | LabelSet
    split: str | None


def places(folders: set[Folder]) -> dict[Folder, Place | Problem]:
    """The place of each folder that holds images.

    Folders that all else lies in are looked through (at most three deep). If then there is a train folder beside other
    split folders only, they are the splits, and classes lie within; otherwise the first folder is the class. Folders
    below a class folder belong to it.
    """
    depth = _shared_depth(folders)
    tops = {folder[depth] for folder in folders if len(folder) > depth}
    has_splits = "train" in {cells.split(top) for top in tops} and any(
        len(folder) > depth + 1 and cells.split(folder[depth]) == "train" for folder in folders
    )
    return {folder: _place(folder[depth:], has_splits) for folder in folders}


def _shared_depth(folders: set[Folder]) -> int:
    """How many folders all classes lie in; images that lie higher up do not hide them."""
    for depth in range(_MAX_TOPS):
        tops = {folder[depth] for folder in folders if len(folder) > depth}
        has_folders_within = any(len(folder) > depth + 1 for folder in folders)
        if len(tops) != 1 or not has_folders_within or cells.split(tops.pop()) is not None:
            return depth
    return _MAX_TOPS


def _place(folder: Folder, has_splits: bool) -> Place | Problem:
    if not folder:
        return Problem("entry_no_class", "The image lies in no class folder.")
    if not has_splits:
        return Place(cells.name(folder[0]), None)
    split = cells.split(folder[0])
    if split is None:
        return Problem("entry_no_class", f'"{folder[0]}" lies beside the folders of the splits and is none of them.')
    if len(folder) < 2:
        return Problem("entry_no_class", f'The image lies in the split "{split}", but in no class folder.')
    return Place(cells.name(folder[1]), split)
