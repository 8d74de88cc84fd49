"""A column of numbers on disk, where millions of rows would take too much memory."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Spill:
    """Numbers that are added at the end and read back from anywhere."""

    def __init__(self, path: Path, dtype: type[np.number[Any]]) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._rows = 0

    def extend(self, values: npt.NDArray[Any]) -> None:
        """The next numbers."""
        with open(self._path, "ab") as file:
            file.write(np.ascontiguousarray(values, self._dtype).data)
        self._rows += len(values)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Numbers from one row to before another."""
        count = min(stop, self._rows) - start
        return np.fromfile(self._path, self._dtype, count, offset=start * self._dtype.itemsize)
