"""A column of numbers on disk, where millions of rows would take too much memory."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Spill:
    """Numbers that are added at the end, or put anywhere, and read back from anywhere."""

    def __init__(self, path: Path, dtype: type[np.number[Any]]) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._rows = 0
        path.touch()

    def extend(self, values: npt.NDArray[Any]) -> None:
        """The next numbers."""
        self.put(self._rows, values)
        self._rows += len(values)

    def put(self, start: int, values: npt.NDArray[Any]) -> None:
        """Numbers from one row on."""
        with open(self._path, "r+b") as file:
            file.seek(start * self._dtype.itemsize)
            file.write(np.ascontiguousarray(values, self._dtype).data)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Numbers from one row to before another, as far as there are."""
        return np.fromfile(self._path, self._dtype, stop - start, offset=start * self._dtype.itemsize)

    def pieces(self, starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """So many numbers from each of some rows on, one after the other."""
        found = np.empty(int(sizes.sum()), self._dtype)
        ends = np.cumsum(sizes)
        with open(self._path, "rb", buffering=0) as file:
            for start, low, high in zip(starts.tolist(), (ends - sizes).tolist(), ends.tolist(), strict=True):
                file.seek(start * self._dtype.itemsize)
                if file.readinto(found[low:high].data) < (high - low) * self._dtype.itemsize:
                    raise OSError(errno.EIO, "the file is shorter than what was put into it", str(self._path))
        return found
