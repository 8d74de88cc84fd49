"""What a serving process has seen of a candidate that answers copies of requests, beside the answers that were sent.

Written to the stream `slipway:shadow` (field `r`, JSON), again and again while it grows. Sums, no inputs.
"""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

_Count = Annotated[int, Field(ge=0)]
# The newest copies that a process tells one by one, and what stands there for one that the candidate failed on.
MAX_LAST: Final = 1000
FAILED: Final = -1


class ShadowTally(BaseModel):
    """The sums of one rollout in one process since it began; a later one (by `seq`) replaces the earlier.

    Durations in microseconds of computing. `agreed` counts items: 1 where both gave the same label, for rankings the
    share of the items that both name. `score_difference` sums over `scored` items how far the candidate's score of the
    answered label lies from the answer's.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    rollout: str
    process: str
    seq: Annotated[int, Field(ge=1)]
    copies: _Count = 0
    # Copies that were not made because too many were waiting or the candidate was not loaded.
    dropped: _Count = 0
    # Copies that the candidate failed on.
    failed: _Count = 0
    items: _Count = 0
    agreed: Annotated[float, Field(ge=0)] = 0.0
    scored: _Count = 0
    score_difference: Annotated[float, Field(ge=0)] = 0.0
    answered_us: _Count = 0
    candidate_us: _Count = 0
    # (answered label, candidate's label) → how often, where they differ.
    changes: list[tuple[str, str, int]] = Field(default_factory=list, max_length=100)
    # The computing of each of the newest copies in microseconds, oldest first, or FAILED.
    last: list[Annotated[int, Field(ge=FAILED)]] = Field(default_factory=list, max_length=MAX_LAST)
