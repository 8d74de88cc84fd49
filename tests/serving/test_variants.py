"""A variant of a model version answers on the same endpoint, by explicit choice and with a certificate of its own."""

from collections import Counter
from pathlib import Path

import pytest

from tests.serving import bundles
from tests.serving.conftest import Stage
from tests.serving.running import new_id, until
from workers.contracts import names
from workers.contracts.errors import UserError
from workers.contracts.snapshot import ServingStatus
from workers.serving.bundles import open_bundle


def test_a_variant_answers_beside_the_model_and_is_counted_as_itself(own_stage: Stage, tmp_path: Path) -> None:
    control = own_stage.control
    whole = control.revision(bundles.variant_bundle(tmp_path / "both.zip"), traffic=50, number=3)
    small = whole.model_copy(update={"revision": new_id("rev"), "variant": "int8"})
    control.add_route("both", tmp_path / "both.zip", revisions=[whole, small])
    control.publish()
    until(lambda: own_stage.predict(["good"], "both").status_code == 200)
    seen: Counter[bool] = Counter()
    while len(seen) < 2 or seen.total() < 20:
        reply = own_stage.predict(["good"], "both")
        model, (prediction,) = reply.json()["model"], reply.json()["predictions"]
        assert (model["id"], model["number"]) == (whole.model, 3)
        is_small = model.get("variant") == "int8"
        assert prediction["label"] == "positive" and (prediction["score"] < 0.97) == is_small
        record = own_stage.record(reply)
        assert (record["revision"], record["model"]) == ((small if is_small else whole).revision, whole.model)
        seen[is_small] += 1
        assert seen.total() < 200
    described = own_stage.client.get("/v1/endpoints/both", headers=own_stage.auth).json()["models"]
    assert [one.get("variant") for one in described] == [None, "int8"]
    versions = own_stage.client.get("/v2/models/both", headers=own_stage.auth).json()["versions"]
    assert versions == ["3", "3-int8"]


def test_a_variant_that_has_not_passed_or_is_not_there_never_answers(own_stage: Stage, tmp_path: Path) -> None:
    control = own_stage.control
    failed = control.revision(bundles.variant_bundle(tmp_path / "failed.zip", deployable=False), number=2)
    failed = failed.model_copy(update={"variant": "int8"})
    absent = own_stage.text.revisions[0].model_copy(update={"revision": new_id("rev"), "variant": "int8"})
    control.replace(own_stage.text, revisions=[*own_stage.text.revisions, failed, absent])
    control.publish()

    def states() -> tuple[str, str]:
        (key,) = control.client.keys(names.serving_key("*"))
        said = ServingStatus.model_validate_json(control.client.get(key)).revisions
        return said.get(failed.revision, ""), said.get(absent.revision, "")

    until(lambda: all(state.startswith("failed") for state in states()))
    assert "Accuracy falls" in states()[0] and "has no int8 variant" in states()[1]
    for _ in range(10):
        assert "variant" not in own_stage.predict(["good"]).json()["model"]


def test_a_variant_is_tried_before_it_answers_like_the_model(tmp_path: Path) -> None:
    path = bundles.variant_bundle(tmp_path / "both.zip")
    whole, small = open_bundle(path), open_bundle(path, "int8")
    assert whole.predictor.predict(["good"]) != small.predictor.predict(["good"])
    with pytest.raises(UserError) as caught:
        open_bundle(path, "int4")
    assert caught.value.code == "certificate_missing"
    far = bundles.text_bundle(tmp_path / "far.zip", more_files={"model.int8.onnx": b"no model"}, variants=[])
    with pytest.raises(UserError):
        open_bundle(far, "int8")
