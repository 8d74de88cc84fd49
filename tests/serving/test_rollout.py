"""A candidate beside the model that answers: its share, its header, copies of requests, bundles that may not load."""

import base64
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.serving import bundles
from tests.serving.conftest import Stage
from tests.serving.running import new_id, until
from workers.contracts import names
from workers.contracts.shadow import ShadowTally
from workers.contracts.snapshot import Route, RouteRevision, Shadow


@dataclass
class Rollout:
    """An endpoint with a candidate beside its model."""

    stage: Stage
    route: Route
    first: RouteRevision
    second: RouteRevision

    def ask(self, inputs: list[Any], revision: str | None = None) -> httpx.Response:
        """A prediction, of the named revision if any."""
        headers = [(b"authorization", self.stage.auth["Authorization"].encode())]
        if revision is not None:
            headers.append((b"x-slipway-revision", revision.encode()))
        address = f"/v1/endpoints/{self.route.slug}/predict"
        return self.stage.client.post(address, json={"inputs": inputs}, headers=headers)

    def numbers(self, count: int) -> Counter[int]:
        """How often each model answers."""
        return Counter(self.ask(["good film"]).json()["model"]["number"] for _ in range(count))

    def state(self) -> str:
        """What the process says of the candidate."""
        (key,) = self.stage.control.client.keys(names.serving_key("*"))
        said: dict[str, str] = json.loads(self.stage.control.client.get(key))["revisions"]
        return said.get(self.second.revision, "loading")

    def tally(self, enough: Callable[[ShadowTally], bool]) -> ShadowTally:
        """What the process says of the copies, when there is enough."""

        def last() -> ShadowTally | None:
            entries = self.stage.control.client.xrevrange(names.STREAM_SHADOW, count=20)
            tallies = [ShadowTally.model_validate_json(fields[b"r"]) for _, fields in entries]
            ours = [one for one in tallies if self.route.shadow and one.rollout == self.route.shadow.rollout]
            return ours[0] if ours and enough(ours[0]) else None

        found: ShadowTally = until(last)
        return found


def roll_out(
    stage: Stage, first: Path, second: Path, *, traffic: int = 0, share: int = 0, kind: str = "text"
) -> Rollout:
    """An endpoint of the test's own with two models, the second ready or known to be bad."""
    old = stage.control.revision(first, traffic=100 - traffic)
    new = stage.control.revision(second, traffic=traffic, number=2)
    shadow = Shadow(rollout=new_id("rol"), revision=new.revision, share=share) if share else None
    slug = f"rollout-{new.revision[-6:]}"
    route = stage.control.add_route(slug, first, kind=kind, revisions=[old, new], candidate=new.revision, shadow=shadow)
    stage.control.publish()
    made = Rollout(stage, route, old, new)
    until(lambda: made.state() != "loading")
    return made


@pytest.fixture
def text(bundle_folder: Path) -> Path:
    return bundle_folder / "text.zip"


@pytest.fixture
def flipped(bundle_folder: Path) -> Path:
    return bundle_folder / "flipped.zip"


def test_the_measured_split_lies_within_binomial_noise(stage: Stage, text: Path, flipped: Path) -> None:
    rollout = roll_out(stage, text, flipped, traffic=20)
    assert abs(rollout.numbers(2000)[2] - 400) <= 4 * math.sqrt(2000 * 0.2 * 0.8)


def test_a_candidate_without_traffic_answers_those_who_ask_for_it(stage: Stage, text: Path, flipped: Path) -> None:
    rollout = roll_out(stage, text, flipped)
    for name, number, label in (
        ("candidate", 2, "negative"),
        ("2", 2, "negative"),
        (rollout.second.revision, 2, "negative"),
        ("1", 1, "positive"),
        (None, 1, "positive"),
    ):
        reply = rollout.ask(["good"], name)
        body = reply.json()
        assert (body["model"]["number"], body["predictions"][0]["label"]) == (number, label)
        assert stage.record(reply)["pinned"] == (name is not None)
    oip = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]}]}
    headers = stage.auth | {"X-Slipway-Revision": "candidate"}
    reply = stage.client.post(f"/v2/models/{rollout.route.slug}/infer", json=oip, headers=headers)
    assert reply.json()["model_version"] == "2"


@pytest.mark.parametrize("name", ["candidate", "3", "none", "", "é" * 40])
def test_who_asks_for_a_revision_that_is_not_there_gets_no_other(stage: Stage, name: str) -> None:
    revisions = stage.text.revisions
    reply = Rollout(stage, stage.text, revisions[0], revisions[0]).ask(["good"], name)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "revision_not_found")
    assert stage.record(reply)["code"] == "revision_not_found"


def test_copies_are_compared_and_counted_but_never_sent_or_billed(stage: Stage, text: Path, flipped: Path) -> None:
    rollout, before = roll_out(stage, text, flipped, share=100), len(stage.control.records())
    for words in ["good film"] * 30 + ["film"] * 10:  # of "film" both models think the same
        assert rollout.ask([words]).json()["model"]["number"] == 1
    rollout.ask(["good"], "candidate")  # its own answers are not copied
    found = rollout.tally(lambda tally: tally.copies == 40)
    assert (found.items, found.agreed, found.failed, found.dropped) == (40, 10, 0, 0)
    assert found.changes == [("positive", "negative", 30)]
    assert found.scored == 40 and found.score_difference == pytest.approx(30 * 0.964, abs=0.05)
    assert found.candidate_us > 0 and found.answered_us > 0
    records = stage.control.records()[before:]
    assert len(records) == 41
    assert sum(record["revision"] == rollout.second.revision for record in records) == 1


def test_rankings_agree_by_the_items_that_both_name(stage: Stage, bundle_folder: Path) -> None:
    ranking = bundle_folder / "ranking.zip"
    rollout = roll_out(stage, ranking, ranking, share=100, kind="recommendation")
    assert rollout.ask([{"user": "u1", "k": 3}, {"items": ["b"], "k": 2}]).status_code == 200
    found = rollout.tally(lambda tally: tally.copies == 1)
    assert (found.items, found.agreed, found.scored, found.changes) == (2, 2, 0, [])


def test_a_share_of_the_requests_is_copied(stage: Stage, text: Path, flipped: Path) -> None:
    rollout = roll_out(stage, text, flipped, share=25)
    rollout.numbers(400)
    found = rollout.tally(lambda tally: tally.copies > 65)
    assert found.copies <= 100 + 4 * math.sqrt(400 * 0.25 * 0.75)


def test_a_candidate_that_fails_on_copies_fails_nobody(stage: Stage, text: Path, tmp_path: Path) -> None:
    rollout = roll_out(stage, text, choosy_bundle(tmp_path / "choosy.zip"), share=100)
    for number in range(20):
        assert rollout.ask(["unheard" if number % 2 else "good film"]).status_code == 200
    found = rollout.tally(lambda tally: tally.copies == 20)
    assert (found.failed, found.items) == (10, 10)


def test_copies_that_do_not_fit_are_dropped_and_counted(stage: Stage, bundle_folder: Path) -> None:
    rollout = roll_out(stage, bundle_folder / "image.zip", bundle_folder / "dear.zip", share=100, kind="image")
    photo = {"image": base64.b64encode(bundles.png(255, 0)).decode()}
    for _ in range(100):
        assert rollout.ask([photo] * 16).status_code == 200
    found = rollout.tally(lambda tally: tally.copies + tally.dropped == 100)
    assert found.dropped > 0 and found.copies > 0
    assert found.agreed == found.items == 16 * found.copies


def choosy_bundle(path: Path) -> Path:
    """A text bundle that fails on words that it does not know: it looks them up beyond the end of a table."""
    model = bundles.text_model()
    graph = model.graph
    for name, value in {"unknown": 1, "beyond": 100, "table": 0}.items():
        graph.initializer.append(numpy_helper.from_array(np.array([value], dtype=np.int64), name))
    graph.node.insert(0, helper.make_node("Equal", ["token_ids", "unknown"], ["strange"]))
    graph.node.insert(1, helper.make_node("Cast", ["strange"], ["ones"], to=TensorProto.INT64))
    graph.node.insert(2, helper.make_node("Mul", ["ones", "beyond"], ["places"]))
    graph.node.insert(3, helper.make_node("Gather", ["table", "places"], ["zeros"]))
    graph.node.insert(4, helper.make_node("Add", ["token_ids", "zeros"], ["ids"]))
    graph.node[5].input[1] = "ids"
    return bundles.text_bundle(path, model=model)


def deadly_bundle(path: Path) -> Path:
    """A text bundle whose model divides the smallest integer by -1: the processor traps, and the process ends."""
    model = bundles.text_model()
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array([-(2**63)], dtype=np.int64), "least"))
    graph.initializer.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), "minus"))
    graph.initializer.append(numpy_helper.from_array(np.array([0], dtype=np.int64), "nought"))
    graph.node.insert(0, helper.make_node("Mul", ["token_ids", "nought"], ["nothing"]))
    graph.node.insert(1, helper.make_node("Add", ["nothing", "least"], ["extreme"]))
    graph.node.insert(2, helper.make_node("Div", ["extreme", "minus"], ["trap"]))
    graph.node.insert(3, helper.make_node("Mul", ["trap", "nought"], ["zeros"]))
    graph.node.insert(4, helper.make_node("Add", ["token_ids", "zeros"], ["ids"]))
    graph.node[5].input[1] = "ids"
    return bundles.text_bundle(path, model=model, answered=False)


def test_a_bundle_that_would_end_the_process_ends_only_its_trial(stage: Stage, text: Path, tmp_path: Path) -> None:
    rollout = roll_out(stage, text, deadly_bundle(tmp_path / "deadly.zip"), traffic=100)
    assert rollout.state() == "failed: The bundle is not acceptable: loading it ends the process."
    assert rollout.ask(["good"]).json()["model"]["number"] == 1
    assert stage.serving.process.poll() is None
