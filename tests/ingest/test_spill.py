"""Numbers on disk come back as they were put there, or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest

from workers.ingest.spill import Spill


def test_pieces_come_back_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "numbers", np.int32)
    spill.extend(np.arange(5))
    spill.put(5, np.arange(50, 55))
    assert spill.pieces(np.array([6, 0, 3]), np.array([2, 1, 0])).tolist() == [51, 52, 0]


def test_a_file_that_was_cut_is_no_source_of_numbers(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "numbers", np.int32)
    spill.extend(np.arange(5))
    os.truncate(tmp_path / "numbers", 12)
    with pytest.raises(OSError, match="shorter"):
        spill.pieces(np.array([0]), np.array([5]))
