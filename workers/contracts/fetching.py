"""A file that a runner fetches from a user's address before anything is imported from it, and how far it is."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.contracts.errors import ErrorCard

# How long it is known how a fetch went. Whoever waits for longer starts it again.
STATE_TTL_S: Final = 2 * 24 * 3600
# How often the runner tells of a fetch that goes on.
TELL_EVERY_S: Final = 1.0


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FetchSpec(_Part):
    """Fetch `url`, of at most `max_bytes` (`is_room`: because the team has no room for more), into storage under `key`;
    `upload` is the id that it is known by."""

    upload: str
    key: str
    url: str
    max_bytes: Annotated[int, Field(ge=0)]
    is_room: bool = False


class FetchState(_Part):
    """Where a fetch is: `read` bytes of `size`, where that is known. `time`: of the last word, seconds since 1970."""

    state: Literal["waiting", "running", "done", "failed"]
    time: float
    read: int = 0
    size: int | None = None
    error: ErrorCard | None = None
