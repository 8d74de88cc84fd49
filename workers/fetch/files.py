"""A file by its address, whatever the scheme, to a path of ours."""

import threading
from pathlib import Path

from workers.contracts.errors import of_disk
from workers.fetch import bucket, http
from workers.fetch.policy import Policy


def fetch(
    url: str, path: Path, *, policy: Policy, max_bytes: int, given_up: threading.Event, progress: http.Progress
) -> None:
    """Fetch to `path`, whole or not at all. Raises UserError `url_*`; InfraError `disk_full`, `storage_unavailable`."""
    target = policy.target(url)
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "wb", buffering=0) as out:

            def keep(chunk: bytes) -> None:
                try:
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[out.write(rest) :]
                except OSError as error:
                    raise of_disk(error) from error

            if target.scheme == "s3":
                bucket.fetch(target, keep, max_bytes=max_bytes, given_up=given_up, progress=progress)
            else:
                http.fetch(target, keep, policy=policy, max_bytes=max_bytes, given_up=given_up, progress=progress)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
