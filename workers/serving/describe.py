"""What an endpoint takes and returns, in words of its own bundle."""

from typing import Any

from workers.contracts.snapshot import Route
from workers.inference.explain import MAX_ASKED, MAX_EXPLAINED, can_explain
from workers.serving.config import MAX_BODY, MAX_INPUTS
from workers.serving.exchange import variant_of
from workers.serving.loader import Models


async def endpoint(route: Route, models: Models) -> dict[str, Any]:
    """The answer to GET /v1/endpoints/{slug}. Raises InfraError `endpoint_not_ready`."""
    _, served = await models.answering(route)
    manifest, example = served.loaded.manifest, served.loaded.example
    return {
        "slug": route.slug,
        "kind": route.kind,
        "template": route.template,
        "models": [
            {"id": revision.model, "number": revision.number, "traffic": revision.traffic, **variant_of(revision)}
            for revision in route.revisions
            if revision.traffic
        ],
        "labels": manifest.labels,
        "input": manifest.input_schema,
        "output": manifest.output_schema,
        "example": {"request": {"inputs": [example["input"]]}, "reply": {"predictions": [example["prediction"]]}},
        "explain": can_explain(served.loaded.predictor),
        "limits": {
            "inputs": MAX_INPUTS[route.kind],
            "bytes": MAX_BODY[route.kind],
            "explained_inputs": MAX_EXPLAINED,
            "explained_items": MAX_ASKED,
        },
    }
