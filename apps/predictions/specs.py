"""From a batch prediction's row to its part of the job's spec."""

from typing import Any

from apps.predictions.models import Prediction
from apps.teams.models import Team
from apps.usage import quota
from workers.contracts.job import BatchSpec, FileOptions, InputFile


def batch_part(prediction: Prediction) -> tuple[list[InputFile], BatchSpec]:
    """Its inputs, and what is to be done with them."""
    model = prediction.model
    inputs = [
        InputFile(name="source", key=prediction.source_key),
        InputFile(name="bundle.zip", key=model.bundle_key, sha256=model.bundle_sha256),
    ]
    kind: Any = model.kind
    format: Any = prediction.format or None
    batch = BatchSpec(
        prediction=prediction.pk,
        project=prediction.project_id,
        endpoint=prediction.endpoint_id or "",
        revision=prediction.revision_id,
        model=model.pk,
        variant=prediction.variant,
        kind=kind,
        filename=prediction.source_name,
        options=FileOptions.model_validate(prediction.options),
        mapping=prediction.mapping,
        format=format,
        scores=prediction.scores,
        k=prediction.k,
        requests_left=requests_left(prediction.project.team),
    )
    return inputs, batch


def requests_left(team: Team) -> int | None:
    """What is left of the team's monthly requests; None where they are not limited."""
    if team.monthly_requests is None:
        return None
    return max(0, team.monthly_requests - quota.used_this_month([team.pk]).get(team.pk, 0))
