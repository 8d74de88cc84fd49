"""One reader per tabular format; all yield records (see workers.ingest.records)."""

import io
from pathlib import Path

from workers.contracts.errors import JobError
from workers.contracts.job import GUESSED, FileOptions, IngestLimits
from workers.ingest import encoding
from workers.ingest.records import Table
from workers.ingest.sniff import ARCHIVES, Format


def open_table(
    source: Path | bytes, format: Format, filename: str, limits: IngestLimits, options: FileOptions = GUESSED
) -> Table:
    """Open a tabular file, or the head of one. Formats that name their columns themselves do not care for options.
    Imports only what the format takes.

    Raises JobError.
    """
    if format in (*ARCHIVES, "compressed"):
        raise JobError("format_unknown", "This file is packed, not a table.", hint="Unpack it and upload the table.")
    if format == "parquet":
        from workers.ingest.readers.parquet import ParquetTable

        if isinstance(source, bytes):
            raise JobError("file_unreadable", "The beginning of a Parquet file does not tell what is in it.")
        return ParquetTable(source, limits.max_rows)
    if format == "sheet":
        from workers.ingest.readers.sheet import SheetTable

        if isinstance(source, bytes):
            raise JobError("file_unreadable", "The beginning of a spreadsheet does not tell what is in it.")
        return SheetTable(source, limits, options)
    codec = encoding.detect(source)
    stream = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: SIM115 - the table closes it
    if format == "json":
        from workers.ingest.readers.json_array import JsonArrayTable

        return JsonArrayTable(stream, codec, limits.max_field_chars)
    if format == "jsonl":
        from workers.ingest.readers.json_lines import JsonLinesTable

        return JsonLinesTable(stream, codec, limits.max_field_chars)
    from workers.ingest.readers.delimited import DelimitedTable

    return DelimitedTable(stream, codec, filename, limits.max_field_chars, options)
