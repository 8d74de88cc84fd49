"""A variant is deployed by explicit choice, if it has passed, and shown beside the model that it is a form of."""

import io
from typing import Any

import pytest
import redis

from apps.datasets.uploads import store_upload
from apps.endpoints import actions
from apps.predictions.models import Prediction
from apps.predictions.specs import batch_part
from apps.registry.models import ModelVersion
from tests.cast import Cast
from tests.endpoints.test_actions import Api, another_model, route_of
from workers.contracts.errors import UserError

pytestmark = pytest.mark.usefixtures("redis_client")


def with_variant(cast: Cast, **changes: Any) -> ModelVersion:
    """A model version with an int8 variant, a quarter of its size."""
    latency = {"single": 0.25, "batch_32": 2.0}
    variant = {
        "name": "int8",
        "file": "model.int8.onnx",
        "method": "dynamic",
        "bytes": 1_048_576,
        "bytes_fp32": 4_194_304,
        "split": "test",
        "examples": 100,
        "label_flips": 1,
        "max_abs_difference": 0.02,
        "accuracy": 0.901,
        "accuracy_fp32": 0.912,
        "allowed_drop": 0.02,
        "latency": latency,
        "latency_fp32": {"single": 0.75, "batch_32": 6.0},
        "deployable": True,
        "reason": "",
        **changes,
    }
    return another_model(cast.ours, manifest={**cast.ours.model.manifest, "variants": [variant]})


def test_a_variant_is_a_revision_of_its_own_beside_its_model(
    cast: Cast, api_of: Api, client: Any, redis_client: redis.Redis, django_capture_on_commit_callbacks: Any
) -> None:
    endpoint, model, api = cast.ours.endpoint, with_variant(cast), api_of(cast.bob)
    url = f"/api/v1/endpoints/{endpoint.pk}/deploy"
    with django_capture_on_commit_callbacks(execute=True):
        assert api.post(url, {"model": model.pk}).json()["revisions"][0]["variant"] == ""
        made = api.post(url, {"model": model.pk, "variant": "int8", "traffic": 40})
    assert made.status_code == 202
    found = [(row["model"], row["variant"], row["traffic"]) for row in made.json()["revisions"]][:2]
    assert found == [(model.pk, "int8", 40), (model.pk, "", 60)]
    route = route_of(redis_client, endpoint)
    assert route is not None
    shares = {(one.model, one.variant): one.traffic for one in route.revisions if one.traffic}
    assert shares == {(model.pk, ""): 60, (model.pk, "int8"): 40}
    client.force_login(cast.bob)
    page = client.get(f"/endpoints/{endpoint.pk}").content.decode()
    assert "1.0\xa0MB instead of 4.0\xa0MB" in page and "0.25 ms instead of 0.75 ms" in page
    assert "accuracy 90.1" in page and f'value="{model.pk}:int8"' in page


def test_the_form_deploys_a_variant_only_where_it_is_chosen(cast: Cast, client: Any) -> None:
    endpoint, model = cast.ours.endpoint, with_variant(cast)
    client.force_login(cast.bob)
    for chosen in (model.pk, f"{model.pk}:int8"):
        assert client.post(f"/endpoints/{endpoint.pk}/deploy", {"model": chosen, "traffic": 100}).status_code == 303
        answering = endpoint.revisions.get(traffic=100)
        assert (answering.model_id, answering.variant) == (model.pk, chosen.partition(":")[2])


def test_a_variant_without_a_passed_certificate_is_refused(cast: Cast, redis_client: redis.Redis) -> None:
    endpoint, plain = cast.ours.endpoint, another_model(cast.ours)
    failed = with_variant(cast, deployable=False, reason="Accuracy falls by 0.300; 0.01 is allowed.")
    for model, why in ((plain, "holds none"), (failed, "Accuracy falls")):
        with pytest.raises(UserError, match=why) as caught:
            actions.deploy_model(actor=cast.bob, endpoint=endpoint, model=model, variant="int8")
        assert caught.value.code == "certificate_missing"
        with pytest.raises(UserError, match=why):
            actions.create_endpoint(actor=cast.bob, project=endpoint.project, name="x", model=model, variant="int8")
    assert not endpoint.revisions.exclude(variant="").exists()


def test_a_file_is_answered_by_the_chosen_variant_or_by_the_endpoints(cast: Cast, api_of: Api) -> None:
    model, api = with_variant(cast), api_of(cast.bob)
    revision = actions.deploy_model(actor=cast.bob, endpoint=cast.ours.endpoint, model=model, variant="int8")

    def variant_of(**asked: str) -> str:
        upload = store_upload(
            actor=cast.bob, team=cast.ours.team, filename="rows.csv", stream=io.BytesIO(b"text\ngood\n"), size=10
        )
        reply = api.post("/api/v1/predictions", {"upload": upload.pk, **asked}, format="json")
        if reply.status_code != 202:
            return str(reply.json()["error"]["code"])
        found = Prediction.objects.get(pk=reply.json()["id"])
        assert batch_part(found)[1].variant == found.variant
        assert api.get(f"/api/v1/predictions/{found.pk}").json()["variant"] == found.variant
        return found.variant

    assert variant_of(model=model.pk) == "" and variant_of(model=model.pk, variant="int8") == "int8"
    assert variant_of(endpoint=revision.endpoint_id) == "int8"
    assert variant_of(model=model.pk, variant="int4") == "certificate_missing"
    assert variant_of(endpoint=revision.endpoint_id, variant="int8") == "invalid"
