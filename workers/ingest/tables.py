"""The table of an import, which may come in several files, and who imports it."""

from collections.abc import Callable
from typing import Final

from workers.contracts.errors import JobError
from workers.contracts.manifest import IngestResult
from workers.ingest import unpack
from workers.ingest.context import Import
from workers.ingest.kinds import interactions, table, text
from workers.ingest.readers.joined import JoinedTables
from workers.ingest.records import Table

# By the kind of data in it. A new kind is a module and a line here.
RUN: Final[dict[str, Callable[[Import, Table], IngestResult]]] = {
    "text": text.run,
    "recommendation": interactions.run,
    "tabular": table.run,
}


def opened(ctx: Import) -> Table:
    """The table that the files of the import are together. Raises JobError `columns_differ`."""
    files = [unpack.unpacked(ctx, path, name) for path, name in ctx.files]
    named = [one for file in files for one in unpack.open_tables(ctx, file, ctx.spec)]
    first = named[0]
    for name, other in named[1:]:
        if set(other.columns) != set(first[1].columns):
            evidence = "; ".join(f"{one}: {', '.join(table.columns[:30])}" for one, table in (first, (name, other)))
            raise JobError("columns_differ", evidence=evidence[:1000])
    return first[1] if len(named) == 1 else JoinedTables(named)
