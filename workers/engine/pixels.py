"""Images of one split, decoded once into a file, and read from it by rows."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np

from workers.contracts.errors import JobError
from workers.engine.run import Run
from workers.inference.core import InputError
from workers.inference.image import STRETCHED, Scaling, decode_image


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


def decode_split(run: Run, split: str, rows: int, size: int, progress: float, scaling: Scaling = STRETCHED) -> Pixels:
    """Decode all images of a split, on all cores. `progress`: of the whole job, so far.

    Raises JobError `input_corrupt`.
    """
    path = run.cache / f"{split}.uint8"
    done = 0
    with path.open("wb") as file, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for batch in run.batches(split, ["image", "name"]):
            files, names = batch["image"].to_pylist(), batch["name"].to_pylist()
            for pixels in pool.map(_decode, files, names, repeat(size), repeat(scaling)):
                file.write(np.ascontiguousarray(pixels).data)
            done += len(files)
            run.progress(progress, "Decoding images", step=done, steps=rows)
    return Pixels(path, rows, size)


def _decode(data: bytes, name: str, size: int, scaling: Scaling) -> np.ndarray:
    try:
        return decode_image(data, (size, size), scaling=scaling)
    except InputError as error:
        raise JobError("input_corrupt", evidence=f"{name[:200]}: {error.message}") from None
