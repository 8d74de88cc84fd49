"""The artifact store: a local folder or `s3://bucket/prefix`, the same for every process.

Only an operator's SLIPWAY_STORAGE names the place. Callers give keys (workers.contracts.names), never paths or URLs.
"""

import contextlib
import hashlib
import os
import re
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from workers.contracts.errors import InfraError, JobError, SlipwayError, of_disk

# Parts never begin with a dot: neither "..", nor the temporary files of a put, can be named.
_KEY = re.compile(r"(?=.{1,400}\Z)[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*\Z")
_TEMPORARY = ".put-"
_CHUNK = 1 << 20


def checked_key(key: str) -> str:
    """The key itself. Raises ValueError for whatever is not a plain relative path in its normal form."""
    if not _KEY.match(key):
        raise ValueError(f"not a storage key: {key[:60]!r}")
    return key


class Storage(ABC):
    """Files under keys. A put is atomic: readers find the old file, the new one or none, never a part.

    Every method raises ValueError for a malformed key, JobError `artifact_missing` where there is no such file,
    InfraError `disk_full` or `storage_unavailable` where the store fails.
    """

    def put_file(self, path: str | Path, key: str) -> None:
        """Store a copy of a local file."""
        with _translated(key):
            self._put_file(Path(path), checked_key(key))

    def put_bytes(self, data: bytes, key: str) -> None:
        """Store bytes."""
        with _translated(key):
            self._put_bytes(data, checked_key(key))

    def get_file(self, key: str, path: str | Path, sha256: str | None = None) -> None:
        """Fetch a file to `path`, which appears whole or not at all. JobError `input_corrupt` for another hash."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.open(key) as source, _translated(key), _atomic_file(target) as copy:
            digest = _copy(source, copy)
            if sha256 is not None and digest != sha256:
                raise JobError("input_corrupt", evidence=f"{target.name}: sha256 {digest}, expected {sha256}")

    def read_bytes(self, key: str) -> bytes:
        """The whole content of a small file."""
        with self.open(key) as stream, _translated(key):
            return stream.read()

    def open(self, key: str) -> BinaryIO:
        """A seekable binary stream of the file; the caller closes it."""
        with _translated(key):
            return self._open(checked_key(key))

    def exists(self, key: str) -> bool:
        """Whether there is a file under the key."""
        with _translated(key):
            return self._size(checked_key(key)) is not None

    def size(self, key: str) -> int:
        """Bytes of the file."""
        with _translated(key):
            size = self._size(checked_key(key))
            if size is None:
                raise FileNotFoundError(key)
            return size

    def delete(self, key: str) -> None:
        """Remove the file; nothing happens where there is none."""
        with _translated(key):
            self._delete(checked_key(key))

    def list(self, prefix: str) -> list[str]:
        """The keys of all files in the folder `prefix` and below, sorted."""
        with _translated(prefix):
            return sorted(self._list(checked_key(prefix)))

    def tidy(self, older_than_s: float = 86_400) -> int:
        """Remove what puts that were killed have left, if it is so old; how many files. Buckets have rules for that."""
        return 0

    @abstractmethod
    def _put_file(self, path: Path, key: str) -> None: ...

    @abstractmethod
    def _put_bytes(self, data: bytes, key: str) -> None: ...

    @abstractmethod
    def _open(self, key: str) -> BinaryIO: ...

    @abstractmethod
    def _size(self, key: str) -> int | None: ...

    @abstractmethod
    def _delete(self, key: str) -> None: ...

    @abstractmethod
    def _list(self, prefix: str) -> Iterator[str]: ...


class FolderStorage(Storage):
    """A local folder, readable by its owner only."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _put_file(self, path: Path, key: str) -> None:
        with open(path, "rb") as source, self._new_file(key) as copy:
            _copy(source, copy)

    def _put_bytes(self, data: bytes, key: str) -> None:
        with self._new_file(key) as copy:
            copy.write(data)

    @contextlib.contextmanager
    def _new_file(self, key: str) -> Iterator[BinaryIO]:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _atomic_file(path) as stream:
            yield stream

    def tidy(self, older_than_s: float = 86_400) -> int:
        """Remove the temporary files of killed processes."""
        before, removed = time.time() - older_than_s, 0
        for path in self._root.rglob(f"{_TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    removed += 1
        return removed

    def _open(self, key: str) -> BinaryIO:
        return open(self._root / key, "rb")

    def _size(self, key: str) -> int | None:
        path = self._root / key
        return path.stat().st_size if path.is_file() else None

    def _delete(self, key: str) -> None:
        (self._root / key).unlink(missing_ok=True)

    def _list(self, prefix: str) -> Iterator[str]:
        for path in (self._root / prefix).rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(self._root).as_posix()


class BucketStorage(Storage):
    """A prefix of an S3 bucket. Credentials, region and endpoint come from the usual AWS_* variables."""

    def __init__(self, bucket: str, prefix: str) -> None:
        import s3fs

        self._root = f"{bucket}/{prefix}" if prefix else bucket
        # No listing cache: another process may have written a moment ago.
        self._s3: Any = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _put_file(self, path: Path, key: str) -> None:
        self._s3.put_file(str(path), self._path(key))

    def _put_bytes(self, data: bytes, key: str) -> None:
        self._s3.pipe_file(self._path(key), data)

    def _open(self, key: str) -> BinaryIO:
        stream: BinaryIO = self._s3.open(self._path(key), "rb")
        return stream

    def _size(self, key: str) -> int | None:
        try:
            return int(self._s3.info(self._path(key), refresh=True)["size"])
        except FileNotFoundError:
            return None

    def _delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._s3.rm_file(self._path(key))

    def _list(self, prefix: str) -> Iterator[str]:
        for path in self._s3.find(self._path(prefix), refresh=True):
            yield str(path).removeprefix(f"{self._root}/")


def open_storage(url: str) -> Storage:
    """The store that SLIPWAY_STORAGE names: a folder, or `s3://bucket/prefix`. Raises ValueError for anything else."""
    if "://" not in url:
        return FolderStorage(Path(url).expanduser().resolve())
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"SLIPWAY_STORAGE must be a folder or s3://bucket/prefix, not {url!r}")
    return BucketStorage(parts.netloc, checked_key(prefix) if prefix else "")


@contextlib.contextmanager
def _atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A new file that appears under its name when the block ends well, and leaves no trace otherwise."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)  # mode 600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name, too, survives a power cut
    finally:
        os.close(folder)


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    """Copy a stream; returns the sha256 of what was copied."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    """Failures of disks and networks as errors of the catalogue; users are not told where the store is."""
    try:
        yield
    except (SlipwayError, ValueError):
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise JobError("artifact_missing", evidence=key[:200]) from None
    except OSError as error:
        raise of_disk(error) from error
    except Exception as error:
        # botocore and aiohttp raise families of their own.
        if type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore", "aiohttp"):
            raise InfraError("storage_unavailable") from error
        raise
