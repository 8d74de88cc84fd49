"""Real data sets: every row in, their own splits kept."""

from pathlib import Path

import pytest

from tests.ingest.importing import import_file
from tests.journey.data import real


@pytest.mark.parametrize(
    ("name", "kind", "rows", "test", "classes"),
    [
        ("sms.csv", "text", 5574, 1114, 2),
        ("trec.csv", "text", 5952, 500, 6),
        ("lastfm.csv", "recommendation", 52_668, 10_533, 0),
        ("cifar10-small.zip", "image", 6000, 1000, 10),
    ],
)
def test_a_real_data_set_is_read_without_losing_a_row(
    tmp_path: Path, name: str, kind: str, rows: int, test: int, classes: int
) -> None:
    done = import_file(tmp_path, real(name), kind=kind, filename=name)
    assert (done.result.rows, done.result.rejected) == (rows, 0)
    assert done.result.splits["test"] == test
    assert done.result.splits["validation"] > 0.06 * rows
    assert len(done.result.classes) == classes
    assert done.result.profile["split"] == {"by": "file", "carved": ["validation"]}
