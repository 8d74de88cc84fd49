"""Run an import in a folder of its own and look at everything it left."""

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
from PIL import Image

from workers.contracts import nul
from workers.contracts.errors import JobError
from workers.contracts.job import DatasetKind, IngestSpec, JobSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.manifest import IngestResult
from workers.ingest import index
from workers.ingest import rows as stored
from workers.ingest.findings import read as read_findings
from workers.ingest.run import run


@dataclass
class Outcome:
    """A finished import: its result, data.parquet as dicts, and errors.csv as dicts."""

    result: IngestResult
    rows: list[dict[str, Any]]
    rejected: list[dict[str, str]]
    folder: JobDir
    # Code → the rows that the doctor found it in.
    findings: dict[str, list[int]]

    def issue(self, code: str) -> dict[str, Any]:
        """The one issue of a code."""
        return next(issue for issue in self.result.issues if issue["code"] == code)

    def codes(self) -> set[str]:
        """The codes of all issues."""
        return {issue["code"] for issue in self.result.issues}

    def split_of(self, column: str) -> dict[str, set[str]]:
        """Value of a column → the splits it is in."""
        found: dict[str, set[str]] = {}
        for row in self.rows:
            found.setdefault(row[column], set()).add(row["split"])
        return found


def job(folder: Path, source: bytes | Path, kind: str = "text", filename: str = "data.csv", **spec: Any) -> JobDir:
    """A job folder, ready to run."""
    ingest = IngestSpec.model_validate({"kind": kind, "filename": filename, **spec})
    whole = JobSpec(job="j", attempt=1, team="t", kind="ingest", inputs=[], output_prefix="jobs/j", ingest=ingest)
    job_dir = JobDir.create(folder / f"job{len(list(folder.iterdir()))}", whole)
    target = job_dir.inputs / "source"
    if isinstance(source, bytes):
        target.write_bytes(source)
    else:
        target.symlink_to(source)
    return job_dir


def import_files(folder: Path, files: Mapping[str, bytes], kind: str = "image", **spec: Any) -> Outcome:
    """Import several files as one dataset."""
    first, *more = files
    job_dir = job(folder, files[first], kind, first, more=more, **spec)
    for place, name in enumerate(more, 1):
        (job_dir.inputs / f"source-{place}").write_bytes(files[name])
    return outcome(job_dir, run(job_dir))


def import_file(
    folder: Path, source: bytes | str | Path, kind: str = "text", filename: str = "data.csv", **spec: Any
) -> Outcome:
    """Import, and check what holds for every import. Raises JobError."""
    content = source.encode() if isinstance(source, str) else source
    job_dir = job(folder, content, kind, filename, **spec)
    return outcome(job_dir, run(job_dir))


def outcome(job_dir: JobDir, result: IngestResult) -> Outcome:
    """The files of a finished import, checked against its result."""
    content = json.dumps(result.model_dump(), allow_nan=False)
    assert not nul.is_in(content.encode())
    rows = pq.read_table(job_dir.output / "data.parquet").to_pylist()
    with open(job_dir.output / "errors.csv", newline="", encoding="utf-8") as stream:
        rejected = list(csv.DictReader(stream))
    assert [row["row"] for row in rows] == list(range(len(rows)))
    assert len(rows) == result.rows == sum(result.splits.values())
    assert len(rejected) == result.rejected
    assert all(
        len(row["hash"]) == 32 if "image" in row else 0 <= row["hash"] < 2**64 for row in rows if "user" not in row
    )
    assert not [path for path in job_dir.root.iterdir() if path.name.startswith(".")], "staging was left behind"
    findings = {code: rows.tolist() for code, rows in read_findings(job_dir.output / "findings.parquet").items()}
    for code, found in findings.items():
        assert sorted(set(found)) == found and found[0] >= 0 and found[-1] < result.rows
        assert [issue["count"] for issue in result.issues if issue["code"] == code] == [len(found)], code
    return Outcome(result, rows, rejected, job_dir, findings)


def failure(folder: Path, source: bytes | str | Path, kind: str = "text", **spec: Any) -> JobError:
    """The error that an import ends with."""
    try:
        done = import_file(folder, source, kind, **spec)
    except JobError as error:
        return error
    raise AssertionError(f"the import succeeded with {done.result.rows} rows")


def found(done: Outcome, kind: DatasetKind = "text", **where: Any) -> list[dict[str, Any]]:
    """The rows of a version that meet conditions, as the row browser shows them."""
    path = done.folder.root / "index"
    index.write(done.folder.output / "data.parquet", kind, path)
    files = stored.Files(path)
    return stored.read(files, stored.find(files, stored.Where(**where)))


def reviews(count: int = 40, start: int = 0) -> list[tuple[str, str]]:
    """Different texts of two classes in turn."""
    return [(f"review number {n}", ("good", "bad")[n % 2]) for n in range(start, start + count)]


def as_csv(rows: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label"), **options: Any) -> str:
    """A CSV file."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", **options).writerows([header, *rows])
    return out.getvalue()


def workbook(*sheets: tuple[str, list[list[Any]]], hidden: str = "") -> bytes:
    """An Excel file of sheets, one of them perhaps hidden."""
    book = openpyxl.Workbook()
    book.remove(book.active)  # type: ignore[arg-type]
    for name, rows in sheets:
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        if name == hidden:
            sheet.sheet_state = "hidden"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def picture(colour: int = 0, format: str = "PNG", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    """A small image, different for each number from 0 to 16 million."""
    out = io.BytesIO()
    image = Image.new("RGB", size, (colour >> 16, colour >> 8 & 255, colour & 255))
    image.save(out, format, **options)
    return out.getvalue()


def pictures(labels: tuple[str, ...] = ("cat", "dog"), each: int = 10, prefix: str = "") -> dict[str, bytes]:
    """Path in the archive → image: folders of classes."""
    return {
        f"{prefix}{label}/{n}.png": picture(1000 * place + n) for place, label in enumerate(labels) for n in range(each)
    }


def as_zip(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip as Python writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return out.getvalue()


def as_tar(files: Mapping[str, bytes], mode: str = "w:gz", format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar as Python writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=format) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()
