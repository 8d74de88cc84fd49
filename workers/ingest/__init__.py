"""Bring users' files in: every problem named with its line, good rows kept, the result one Parquet file.

`python -m workers.ingest JOBDIR` runs an import. The web process uses `preview.preview_in_child` on files that it knows
nothing of, and `rows` to page through versions that an import has written.
"""
