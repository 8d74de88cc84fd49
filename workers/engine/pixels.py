"""Images decoded once into a file, and read from it by rows."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np

from workers.contracts.errors import JobError
from workers.engine.run import Run
from workers.inference.core import InputError
from workers.inference.image import STRETCHED, Scaling, decode_image

# This part of the whole job, meanwhile.
_PROGRESS = 0.01


class Pixels:
    """uint8 [rows, size, size, 3] on disk.

    The file is read, not mapped: what the operating system keeps of it in its cache is then no memory of this process,
    however many images there are.
    """

    def __init__(self, path: Path, rows: int, size: int) -> None:
        self._file = path.open("rb") if rows else None
        self._shape = (size, size, 3)
        self._bytes = size * size * 3
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def read(self, rows: np.ndarray) -> np.ndarray:
        """uint8 [len(rows), size, size, 3]."""
        found = np.empty((len(rows), *self._shape), dtype=np.uint8)
        if self._file is not None:
            for place, row in enumerate(rows.tolist()):
                os.preadv(self._file.fileno(), [found[place]], row * self._bytes)
        return found


def decode(run: Run, size: int, scaling: Scaling = STRETCHED) -> Pixels:
    """All images of the version, decoded on all cores, once per job and size: trials, folds and a training that goes on
    after a kill find the file.

    Raises JobError `input_corrupt`, `disk_full`.
    """
    rows = run.rows
    path = run.cache / f"{size}-{'-'.join(map(str, scaling))}.uint8"
    if not path.exists():
        _check_room(path.parent, rows * size * size * 3)
        part, done = path.with_suffix(".part"), 0
        with part.open("wb") as file, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for batch in run.batches(None, ["image", "name"]):
                files, names = batch["image"].to_pylist(), batch["name"].to_pylist()
                for pixels in pool.map(_decode, files, names, repeat(size), repeat(scaling)):
                    file.write(np.ascontiguousarray(pixels).data)
                done += len(files)
                run.progress(_PROGRESS, "Decoding images", step=done, steps=rows)
        # Only a whole file has this name.
        part.replace(path)
    return Pixels(path, rows, size)


def _check_room(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        told = f"The decoded images need {wanted / 1e9:.1f} GB; {free / 1e9:.1f} GB are free."
        raise JobError("disk_full", evidence=told)


def _decode(data: bytes, name: str, size: int, scaling: Scaling) -> np.ndarray:
    try:
        return decode_image(data, (size, size), scaling=scaling)
    except InputError as error:
        raise JobError("input_corrupt", evidence=f"{name[:200]}: {error.message}") from None
