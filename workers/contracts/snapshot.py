"""What the control plane publishes to the hosted prediction API: routes and key digests, nothing secret in clear."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from workers.contracts.kinds import DatasetKind


class _Published(BaseModel):
    # Unknown fields are ignored: a newer control plane may publish more than an older serving process knows.
    model_config = ConfigDict(extra="ignore", frozen=True)


class RouteRevision(_Published):
    """A model version at a share of an endpoint's traffic. Revisions at 0 % stay warm for a rollback."""

    revision: str
    model: str
    number: int
    traffic: Annotated[int, Field(ge=0, le=100)]
    bundle_key: str
    bundle_sha256: str
    bundle_bytes: int
    # Which of the bundle's models: "" is the model itself, else the name of a variant.
    variant: str = ""

    @property
    def version(self) -> str:
        """How clients know it: the model's number, with the variant's name."""
        return f"{self.number}-{self.variant}" if self.variant else str(self.number)


class Shadow(_Published):
    """A revision that gets a copy of a share of the requests, in percent: compared, never answered."""

    rollout: str
    revision: str
    share: Annotated[int, Field(ge=1, le=100)]


class Route(_Published):
    """One endpoint. `rate_limit` is requests per second over all keys; None is unlimited.

    `candidate` is the revision that is being tried, which clients may ask for by header.
    """

    endpoint: str
    slug: str
    team: str
    project: str
    kind: DatasetKind
    template: str
    revisions: list[RouteRevision]
    rate_limit: float | None = None
    candidate: str | None = None
    shadow: Shadow | None = None


class KeyEntry(_Published):
    """An API key, known by its digest. `endpoints` None means every endpoint of the team. `origins` are the web origins
    whose pages may use it in a browser. Times: seconds since the epoch."""

    key: str
    team: str
    endpoints: list[str] | None = None
    expires: float | None = None
    rate_limit: float | None = None
    origins: list[str] = Field(default_factory=list)


class TeamQuota(_Published):
    """What is left of a team's requests this month when the snapshot was made; None is unlimited."""

    requests_left: int | None = None


class Snapshot(_Published):
    """Everything, whole. `version` grows with each publication."""

    version: int
    published: float
    routes: list[Route]
    keys: dict[str, KeyEntry]
    teams: dict[str, TeamQuota] = Field(default_factory=dict)
    # The same of single endpoints and keys that have a quota of their own, by id.
    requests_left: dict[str, int] = Field(default_factory=dict)


class RunnerStatus(_Published):
    """What a runner says of itself every few seconds."""

    runner: str
    queues: list[str]
    device: str
    # How many devices one job may have here: GPUs, or cores.
    devices: int = 1
    job: str | None = None
    time: float


class GatewayCount(_Published):
    """A process's own count of a team's records in a minute (of the epoch): numbered, and of these not written."""

    team: str
    minute: int
    numbered: Annotated[int, Field(ge=0)]
    unwritten: Annotated[int, Field(ge=0)] = 0


class ServingStatus(_Published):
    """What a serving process says of itself every second: revision id → "loading", "ready", "idle" (its model is loaded
    when a request asks for it) or "failed: why"."""

    process: str
    version: int
    revisions: dict[str, str]
    time: float
    # Of the last minutes; the records' own numbers say the same, but for those that were lost last.
    counts: list[GatewayCount] = Field(default_factory=list)
