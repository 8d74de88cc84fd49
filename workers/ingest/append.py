"""Appending: the rows of an earlier version, as they are, and after them those of new files.

All of it is imported as one table, so whatever holds for rows of one file, equal items above all, holds for these.
"""

import itertools
from collections.abc import Iterator

from workers.contracts.errors import JobError
from workers.contracts.job import IngestSpec
from workers.ingest import columns
from workers.ingest.edits import EditedTable
from workers.ingest.reading import UNDECIDED_CELL
from workers.ingest.records import HEAD_RECORDS, Record, Table


class AppendedTable(Table):
    """The rows of a version, whose lines are its rows counted from 0, then those of a file, by the file's own lines.

    The file has the version's columns, whatever their order. Raises JobError `columns_differ`.
    """

    def __init__(self, earlier: EditedTable, new: Table, spec: IngestSpec) -> None:
        self._earlier, self._new = earlier, new
        self.format, self.facts = new.format, new.facts
        self.columns, self.mapping = earlier.columns, earlier.mapping
        self._places = [self._place(name, spec) for name in self.columns]
        self._refuse_others(spec)
        rows = [self._fields(fields) for fields in new.head]
        self.head = [*itertools.islice(earlier.head, HEAD_RECORDS // 2), *rows[: HEAD_RECORDS // 2]]
        self.rows = 0

    def _place(self, name: str, spec: IngestSpec) -> int | None:
        """Where a column is in the file; None for the split where files of this dataset have none."""
        is_split = name == self.mapping["split"]
        if is_split and "split" not in spec.mapping:
            return None
        found = columns.find(name, self._new.columns)
        if found is None and not is_split:
            raise self._differ(f'The file has no column "{name}".')
        return None if found is None else self._new.columns.index(found)

    def _refuse_others(self, spec: IngestSpec) -> None:
        """Every column of a table is something to learn from: a new one would be missing in the earlier rows."""
        extra = [name for place, name in enumerate(self._new.columns) if place not in self._places]
        if spec.kind == "tabular" and extra:
            raise self._differ(f'The column "{extra[0]}" is not in the dataset.')

    def _differ(self, message: str) -> JobError:
        evidence = f"In the dataset: {', '.join(self.columns[:30])}; in the file: {', '.join(self._new.columns[:30])}"
        return JobError("columns_differ", message, hint="Rename the file's columns.", evidence=evidence[:1000])

    def _fields(self, fields: list[str]) -> list[str]:
        return [UNDECIDED_CELL if place is None else fields[place] for place in self._places]

    def records(self) -> Iterator[Record]:
        """Every row of the version, then every row of the file."""
        for record in self._earlier.records():
            self.rows += 1
            yield record
        for record in self._new.records():
            yield record if record.problem else record._replace(fields=self._fields(record.fields))

    def fraction(self) -> float:
        """As if both were alike in size."""
        return (self._earlier.fraction() + self._new.fraction()) / 2

    def close(self) -> None:
        """Close the file; the version is its owner's."""
        self._new.close()
