"""The usage record: one per request that got an answer from an endpoint's route, refusals too.

Written by the serving process to the stream `slipway:usage` (field `r`, JSON) before the answer leaves.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

# Of batch predictions' ids. They stand where requests to an endpoint have their API key.
BATCH: Final = "prd_"


def source_of(key: str | None) -> Literal["api", "batch"]:
    """Where a request came from, by who asked: a batch prediction or somebody with an API key (or none)."""
    return "batch" if key and key.startswith(BATCH) else "api"


class UsageRecord(BaseModel):
    """What is billed and what is shown. Durations in microseconds, sizes in bytes, time in seconds since the epoch.

    `key`: who asked, an API key or a batch prediction. `endpoint` is empty for a batch prediction by a model alone.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    request_id: Annotated[str, Field(min_length=8, max_length=64)]
    time: float
    team: str
    project: str
    endpoint: str
    revision: str | None = None
    model: str | None = None
    # The client named the revision: the request says nothing about how the traffic is split.
    pinned: bool = False
    key: str | None = None
    status: Annotated[int, Field(ge=100, le=599)]
    code: str | None = None
    items: Annotated[int, Field(ge=0)] = 0
    compute_us: Annotated[int, Field(ge=0)] = 0
    queue_us: Annotated[int, Field(ge=0)] = 0
    latency_us: Annotated[int, Field(ge=0)] = 0
    bytes_in: Annotated[int, Field(ge=0)] = 0
    bytes_out: Annotated[int, Field(ge=0)] = 0
    # Which serving process made the record, and its number among the team's records there in the minute of `time`:
    # a record that is lost leaves a gap. Empty and 0 from whoever does not number its records.
    process: Annotated[str, Field(max_length=40)] = ""
    number: Annotated[int, Field(ge=0, lt=2**31)] = 0


class FeedbackRecord(BaseModel):
    """The right answer for a prediction that was given, as the client learned it later: `label`, or `labels` where it
    is not None."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    request_id: str
    index: int = 0
    label: str
    labels: list[str] | None = None
    team: str
    endpoint: str
    key: str
    time: float
