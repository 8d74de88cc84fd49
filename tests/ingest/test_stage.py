"""Rows wait on disk and come back as they were: in order, in groups, or some of them."""

from pathlib import Path

import pyarrow as pa

from workers.ingest.stage import Stage

SCHEMA = pa.schema([("hash", pa.string()), ("text", pa.string()), ("size", pa.int64())])


def table(first: int, rows: int) -> pa.Table:
    numbers = range(first, first + rows)
    # Columns in another order and of a wider type, as other libraries give them.
    texts = pa.array([f"text {number}" for number in numbers], pa.large_string())
    return pa.table({"size": numbers, "text": texts, "hash": [f"{number:032x}" for number in numbers]})


def test_tables_of_any_size_come_back_in_order_and_in_even_groups(tmp_path: Path) -> None:
    rows = 0
    with Stage(tmp_path / "staged.arrow", SCHEMA) as stage:
        for step in range(400):
            stage.add_table(table(rows, size := 1 + step * 7 % 900))
            rows += size
    assert len(stage) == rows
    groups = list(stage.groups())
    assert [group.num_rows for group in groups] == [65_536, 65_536, rows - 2 * 65_536]
    assert pa.concat_tables(groups).equals(table(0, rows).select(SCHEMA.names).cast(SCHEMA))
    assert {tuple(group.schema.names) for group in stage.groups(["text"])} == {("text",)}
    wanted = {0, 1, 65_536, rows - 1}
    assert stage.cells("text", wanted) == {row: f"text {row}" for row in wanted}


def test_long_rows_make_small_groups(tmp_path: Path) -> None:
    schema = pa.schema([("name", pa.string()), ("image", pa.binary())])
    with Stage(tmp_path / "staged.arrow", schema) as stage:
        for number in range(50):
            image = {"name": f"image {number}", "image": bytes([number]) * 1_000_000}
            stage.add_table(pa.Table.from_pylist([image], schema))
    groups = list(stage.groups())
    assert max(group.nbytes for group in groups) < 20 * 2**20
    images = [image for group in groups for image in group["image"].to_pylist()]
    assert images == [bytes([number]) * 1_000_000 for number in range(50)]
    assert stage.cells("name", {49}) == {49: "image 49"}


def test_a_stage_without_rows_gives_none(tmp_path: Path) -> None:
    with Stage(tmp_path / "staged.arrow", SCHEMA) as stage:
        pass
    assert (len(stage), list(stage.groups()), stage.cells("text", set())) == (0, [], {})
