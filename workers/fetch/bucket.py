"""One object of a bucket, by the operator's credentials (AWS_*)."""

import threading
from typing import Any, Final

from workers.contracts.errors import UserError
from workers.fetch.http import Keep, Progress
from workers.fetch.policy import Target

_CHUNK: Final = 1 << 20
_BLOCK: Final = 8 << 20


def fetch(target: Target, keep: Keep, *, max_bytes: int, given_up: threading.Event, progress: Progress) -> None:
    """Hand the object's bytes to `keep`. Raises UserError `url_unreachable`, `url_too_large`, `url_timeout`."""
    import s3fs

    store: Any = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
    name = f"{target.host}/{target.path}"
    try:
        size = int(store.info(name, refresh=True)["size"])
        if size > max_bytes:
            raise UserError("url_too_large", limit_bytes=max_bytes)
        read = 0
        with store.open(name, "rb", block_size=_BLOCK) as source:
            while chunk := source.read(_CHUNK):
                if given_up.is_set():
                    raise UserError("url_timeout")
                read += len(chunk)
                if read > max_bytes:
                    raise UserError("url_too_large", limit_bytes=max_bytes)
                keep(chunk)
                progress(read, size)
    except FileNotFoundError:
        raise UserError("url_unreachable", "There is no such object.") from None
    except PermissionError:
        raise UserError("url_unreachable", "The bucket does not let Slipway read this object.") from None
    except Exception as error:
        # botocore and aiohttp raise families of their own.
        if type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore", "aiohttp"):
            raise UserError("url_unreachable") from error
        raise
