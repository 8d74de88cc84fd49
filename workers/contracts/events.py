"""Events: what a job says while it runs. The child appends them to events.jsonl; the runner relays them, numbered.

A line of events.jsonl is the event's JSON. In the stream `slipway:events` an entry has the fields `job`, `attempt`,
`seq` (1, 2, 3, … per attempt, given by the runner) and `event` (the JSON).
"""

from typing import Annotated, Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from workers.contracts.errors import ErrorCard

Step = Annotated[int, Field(ge=0, lt=2**62)]
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_@./ -]{1,80}$")]


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    # Seconds since the epoch by the clock of the process that speaks; before the year 2100.
    time: Annotated[float, Field(ge=0, lt=4_102_444_800)]


class Started(_Event):
    """From the runner: the lease is held and the child is about to start."""

    type: Literal["started"] = "started"
    runner: str
    device: str
    resumed_from_step: int | None = None


class Progress(_Event):
    """How far the job is: fraction in [0, 1], seconds left as far as it knows."""

    type: Literal["progress"] = "progress"
    fraction: Annotated[float, Field(ge=0, le=1)]
    eta_seconds: float | None = None
    phase: Annotated[str, Field(max_length=80)]
    step: int | None = None
    steps: int | None = None


class Pace(TypedDict, total=False):
    """What a progress event may tell beside the fraction and the phase: seconds left, and the step of so many."""

    eta_seconds: float | None
    step: int | None
    steps: int | None


class Metric(_Event):
    """Values measured at a step, by name: "train/loss", "validation/accuracy", "train/learning_rate", …"""

    type: Literal["metric"] = "metric"
    step: Step
    values: Annotated[dict[MetricName, float], Field(max_length=32)]


class Trial(_Event):
    """One setting that a search tries, as it stands now: each event tells all of the trial, so the last one counts.

    `score` is the template's main metric on the validation rows, `scores` its course as [epoch from 0, score]. pruned:
    given up as worse than most; stopped: the search's time was over.
    """

    type: Literal["trial"] = "trial"
    number: Annotated[int, Field(ge=1, le=100_000)]
    parameters: Annotated[
        dict[Annotated[str, Field(max_length=80)], bool | int | float | Annotated[str, Field(max_length=200)]],
        Field(max_length=64),
    ]
    state: Literal["running", "complete", "pruned", "stopped", "failed"]
    score: float | None = None
    scores: Annotated[list[tuple[Annotated[int, Field(ge=0)], float]], Field(max_length=1000)] = Field(
        default_factory=list
    )
    seconds: Annotated[float, Field(ge=0)] = 0.0
    reason: Annotated[str, Field(max_length=400)] = ""


class Log(_Event):
    """A line for the user."""

    type: Literal["log"] = "log"
    level: Literal["info", "warning", "error"] = "info"
    message: Annotated[str, Field(max_length=4000)]


class Device(_Event):
    """What the child really computes on, for example "cpu (2 threads)" or "cuda: NVIDIA H200"."""

    type: Literal["device"] = "device"
    device: Annotated[str, Field(max_length=120)]


class FileRef(BaseModel):
    """A file below `checkpoints/` or `output/`."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Checkpoint(_Event):
    """Files in `checkpoints/` are complete and can be resumed from.

    The runner uploads them to `<output_prefix>/checkpoints/` and only then relays the event.
    """

    type: Literal["checkpoint"] = "checkpoint"
    step: Step
    files: Annotated[list[FileRef], Field(min_length=1, max_length=64)]


class UsageBlock(BaseModel):
    """Some rows of a file, predicted as one request to an endpoint would be; `items` of them got an answer."""

    model_config = ConfigDict(extra="forbid")

    number: Annotated[int, Field(ge=0, lt=2**40)]
    items: Annotated[int, Field(ge=0, lt=2**31)]
    compute_us: Annotated[int, Field(ge=0, lt=2**62)]


class Usage(_Event):
    """What a batch prediction has used. The runner books it as usage records; it is no part of the job's course.

    Said before the checkpoint that holds the rows, so that no row is passed over uncounted. A block's number makes its
    record's id: said again by another attempt, it changes nothing.
    """

    type: Literal["usage"] = "usage"
    blocks: Annotated[list[UsageBlock], Field(min_length=1, max_length=2000)]


class Succeeded(_Event):
    """From the runner, after output/ and result.json are in storage. `result` is result.json's content."""

    type: Literal["succeeded"] = "succeeded"
    result: dict[str, Any]


class Failed(_Event):
    """The child's or the runner's last word. The card says cause, evidence, hint, repair.

    `result`, from the runner: what result.json still tells, of an import its rejected rows.
    """

    type: Literal["failed"] = "failed"
    error: ErrorCard
    result: dict[str, Any] | None = None


class Cancelled(_Event):
    """From the runner: the child has stopped because the user asked."""

    type: Literal["cancelled"] = "cancelled"


# The reason of an interruption that is nobody's fault and does not count against the job.
RUNNER_STOPPED = "The runner was stopped."


class Interrupted(_Event):
    """From the runner: this attempt ended through no fault of the job (child killed, runner going down): run it
    again."""

    type: Literal["interrupted"] = "interrupted"
    reason: Annotated[str, Field(max_length=400)]


Event = Annotated[
    Started
    | Progress
    | Metric
    | Trial
    | Log
    | Device
    | Checkpoint
    | Usage
    | Succeeded
    | Failed
    | Cancelled
    | Interrupted,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
TERMINAL = ("succeeded", "failed", "cancelled", "interrupted")
# What a child may say itself; everything else is the runner's to say.
FROM_CHILD = ("progress", "metric", "trial", "log", "device", "checkpoint", "usage", "failed")
