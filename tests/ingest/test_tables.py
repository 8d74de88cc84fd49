"""Tables: what the columns hold, what is told of them, and what is kept."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.ingest.importing import Outcome, found, import_file
from workers.contracts.errors import JobError
from workers.ingest.column_types import Cells, Column, judge
from workers.ingest.preview import preview

HEADER = "id,age,city,joined,always,label\n"
ROWS = [
    f"{100 + n},{20 + n % 40},{'Rome' if n % 3 else 'Oslo'},{1 + n % 28}/12/2023,x,{'ab'[n % 2]}\n" for n in range(60)
]


def column(name: str, *values: str) -> Column:
    cells = Cells(1000)
    cells.extend(pl.Series(values, dtype=pl.String))
    return judge(name, cells)


def table(tmp_path: Path, text: str, **spec: Any) -> Outcome:
    return import_file(tmp_path, text, "tabular", **spec)


@pytest.mark.parametrize(
    ("name", "values", "type"),
    [
        ("age", ["31", "4", "NA", ""], "number"),
        ("price", ["$1,200.50", "3 €", "7"], "number"),
        ("weight", ["3,5", "4,25", "70"], "number"),
        ("share", ["3 %", "45%"], "number"),
        ("when", ["2024-02-03", "2023-01-09T10:00:00Z"], "date"),
        ("when", ["20240131", "20231201"], "date"),
        ("when", ["13/02/2024", "01/02/2024"], "date"),
        ("when", ["02/13/2024", "01/02/2024"], "date"),
        ("flag", ["true", "false", "true"], "category"),
        ("city", ["Rome", "Oslo", "Rome"], "category"),
        ("customer_id", ["7", "7", "9", "9", "9"], "category"),
        ("customer_id", [str(3 * n) for n in range(30)], "ignored"),
        ("anything", [str(n) for n in range(30)], "ignored"),
        ("measure", [str(3 * n) for n in range(30)], "number"),
        ("token", [f"x{n}" for n in range(30)], "ignored"),
        ("comment", [f"this is what somebody said {n}" for n in range(30)], "ignored"),
        ("always", ["x", "x"], "ignored"),
        ("never", ["", "NA"], "ignored"),
        ("sometimes", ["x", ""], "category"),
    ],
)
def test_what_a_column_holds(name: str, values: list[str], type: str) -> None:
    assert column(name, *values).type == type


def test_of_two_ways_to_write_dates_the_one_that_fits_all_is_taken() -> None:
    assert column("when", "13/02/2024", "01/02/2024").format == "%d/%m/%Y"
    assert column("when", "02/13/2024", "01/02/2024").format == "%m/%d/%Y"


def test_dates_that_may_be_read_in_two_ways_are_told() -> None:
    assert column("when", "01/02/2024", "03/04/2024").ambiguous
    assert not column("when", "01/02/2024", "02/13/2024").ambiguous
    assert not column("when", "01/02/2024", "13/02/2024").ambiguous
    assert column("when", "3/14/2024 2:05 PM", "12/1/2024 11:59 AM").type == "date"


def test_cells_are_kept_as_written_and_columns_are_explained(tmp_path: Path) -> None:
    done = table(tmp_path, HEADER + "".join(ROWS))
    assert done.rows[0]["values"] == {"id": "100", "age": "20", "city": "Oslo", "joined": "1/12/2023", "always": "x"}
    types = {one["name"]: one["type"] for one in done.result.profile["columns"]}
    assert types == {"id": "ignored", "age": "number", "city": "category", "joined": "date", "always": "ignored"}
    told = done.issue("column_ignored")
    assert told["count"] == 2 and {one["column"] for one in told["examples"]} == {"id", "always"}
    assert done.result.mapping == {"label": "label"} and done.result.classes == {"a": 30, "b": 30}


def test_gaps_and_odd_cells_cost_no_row_but_an_empty_label_does(tmp_path: Path) -> None:
    rows = [*ROWS, "999,old,,,x,a\n", "1000,,,,x,\n"]
    done = table(tmp_path, HEADER + "".join(rows))
    assert done.result.rows == 61 and done.result.rejected == 1
    assert done.rejected[0]["code"] == "label_missing"
    assert "age: 1 are no number" in done.issue("cell_odd")["examples"][0]["value"]


def test_a_column_that_is_mostly_empty_is_told(tmp_path: Path) -> None:
    lines = [f"{n % 7},{'z' if n % 5 == 0 else ''},{'ab'[n % 2]}\n" for n in range(60)]
    assert (
        "gap: 48 of 60"
        in table(tmp_path, "n,gap,label\n" + "".join(lines)).issue("column_gaps")["examples"][0]["value"]
    )


def test_equal_rows_share_a_split_and_other_labels_for_them_are_told(tmp_path: Path) -> None:
    lines = [f"{n % 10},{n % 5},{'ab'[(n // 10) % 2]}\n" for n in range(100)]
    done = table(tmp_path, "n,m,label\n" + "".join(lines))
    assert "duplicate_conflict" in done.codes()
    splits: dict[str, set[str]] = {}
    for row in done.rows:
        splits.setdefault(str(row["values"]), set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_a_table_with_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    lines = [f"{n},x,{'ab'[n % 2]}\n" for n in range(40)]
    with pytest.raises(JobError) as caught:
        table(tmp_path, "id,same,label\n" + "".join(lines))
    assert caught.value.code == "column_missing" and "id: id" in caught.value.evidence


def test_the_preview_takes_a_table_for_a_table() -> None:
    found = preview((HEADER + "".join(ROWS)).encode(), "t.csv")
    assert found["kind_guess"] == "tabular" and found["mapping_guess"] == {"label": "label"}
    texts = "text,label,source,when\n" + "a few words of a text,x,web,2024-01-01\n" * 20
    assert preview(texts.encode(), "t.csv")["kind_guess"] == "text"


def test_cells_can_be_searched(tmp_path: Path) -> None:
    done = table(tmp_path, HEADER + "".join(ROWS))
    rows = found(done, "tabular", q="oslo")
    assert [row["values"]["city"] for row in rows] == ["Oslo"] * 20


def test_a_corrected_table_is_the_same_table_but_for_the_label(tmp_path: Path) -> None:
    import json

    from tests.ingest.importing import job
    from workers.ingest.run import run

    done = table(tmp_path, HEADER + "".join(ROWS))
    again = job(tmp_path, done.folder.output / "data.parquet", "tabular", corrections=True)
    (again.inputs / "changes.json").write_text(json.dumps({"changes": [{"row": 3, "label": "c"}]}))
    result = run(again)
    assert result.classes == {"a": 30, "b": 29, "c": 1}
    assert result.profile["columns"] == done.result.profile["columns"] and result.columns == done.result.columns
