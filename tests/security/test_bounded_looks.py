"""What somebody looks at in the dashboard costs its process little, whatever is in the data."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from apps.datasets import browse
from apps.datasets.models import Dataset, DatasetVersion
from tests.cast import Cast
from tests.ingest.importing import as_csv, import_file, reviews
from workers.ingest import thumbnails
from workers.ingest.edits import Edit
from workers.ingest.repair_preview import preview
from workers.ingest.repairs import by_name
from workers.ingest.version import Version


def test_a_repair_of_very_long_texts_is_shown_by_the_first_of_them(tmp_path: Path) -> None:
    long = [(f"<b>{number}</b>" + "x" * 300_000, "good") for number in range(30)]
    done = import_file(tmp_path, as_csv([*reviews(20), *long]))
    output, repair, mended = done.folder.output, by_name("strip-markup"), list[str]()

    def plan(version: Version) -> Edit:
        edit = repair.plan(version)
        assert edit.mend
        return replace(edit, mend=lambda text: mended.append(text) or text[:9])

    with Version(output / "data.parquet", output / "findings.parquet") as version:
        found = preview(version, repair._replace(plan=plan))
    assert found.changed == 30 and len(found.examples) == 5
    # Those that count, and the examples once more.
    assert sum(map(len, mended)) < 4_500_000


@pytest.mark.django_db(transaction=True)
def test_few_images_are_drawn_at_once(
    transactional_db: None, cast: Cast, monkeypatch: pytest.MonkeyPatch, settings: object
) -> None:
    """Each may be of tens of millions of pixels."""
    Dataset.objects.filter(pk=cast.ours.dataset.pk).update(kind="image")
    version = DatasetVersion.objects.select_related("dataset").get(pk=cast.ours.version.pk)
    browse.storage().put_bytes(b"", version.data_key)
    now, most = [0], [0]
    full = threading.Barrier(browse.DRAWN_AT_ONCE)

    def draw(data: bytes, size: int) -> tuple[bytes, str]:
        now[0] += 1
        most[0] = max(most[0], now[0])
        full.wait(10)  # as many as may be are in here at once
        time.sleep(0)
        now[0] -= 1
        return b"\x89PNG", "image/png"

    monkeypatch.setattr(thumbnails, "read_image", lambda file, row: b"")
    monkeypatch.setattr(thumbnails, "thumbnail", draw)
    look: Callable[[int], object] = lambda row: browse.row_image(version, row)  # noqa: E731
    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(look, range(6)))) == 6
    assert most[0] == browse.DRAWN_AT_ONCE
