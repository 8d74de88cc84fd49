"""More models than memory: those that are asked for are loaded, others go; nobody gets a wrong answer for it."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.serving import bundles
from tests.serving.conftest import Stage, staged
from tests.serving.running import Control, until
from workers.contracts import names
from workers.contracts.snapshot import ServingStatus
from workers.serving.config import Config, ConfigError
from workers.storage import open_storage

MODELS, MIB = 6, 2**20


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory, redis_server: str, bundle_folder: Path) -> Iterator[Stage]:
    """Six models of 8 MiB, `many-0` to `many-5`, every other one turned round, where 40 MiB are allowed."""
    folder = tmp_path_factory.mktemp("crowded")

    def add(control: Control) -> None:
        for number in range(MODELS):
            model = bundles.text_model(flipped=bool(number % 2), more_words=MIB)
            control.add_route(f"many-{number}", bundles.text_bundle(folder / f"{number}.zip", model=model))

    with staged(folder, redis_server, bundle_folder, add, SLIPWAY_SERVING_MEMORY="40MiB") as running:
        yield running


def states(stage: Stage) -> dict[str, str]:
    """What the process says of each endpoint's model."""
    (key,) = stage.control.client.keys(names.serving_key("*"))
    said = ServingStatus.model_validate_json(stage.control.client.get(key)).revisions
    return {route.slug: said.get(route.revisions[0].revision, "") for route in stage.control.routes}


def test_a_model_that_cannot_be_loaded_is_a_clear_503_and_harms_no_other(
    tmp_path: Path, redis_server: str, bundle_folder: Path
) -> None:
    gone = bundles.text_bundle(tmp_path / "gone.zip", model=bundles.text_model(more_words=MIB))
    large = bundles.text_bundle(tmp_path / "large.zip", model=bundles.text_model(more_words=5 * MIB))

    def add(control: Control) -> None:
        route = control.add_route("gone", gone)
        control.add_route("large", large)
        open_storage(control.storage).delete(route.revisions[0].bundle_key)

    with staged(tmp_path, redis_server, bundle_folder, add, SLIPWAY_SERVING_MEMORY="32MiB") as stage:
        assert states(stage)["gone"] == states(stage)["large"] == "idle"
        for slug, why in (("gone", "cannot be loaded"), ("large", "32.0 MiB is allowed")):
            reply = stage.predict(["good"], slug)
            error = reply.json()["error"]
            assert (reply.status_code, error["code"]) == (503, "endpoint_not_ready") and why in error["message"]
            assert stage.record(reply)["status"] == 503
        assert stage.predict(["good"]).status_code == 200
        until(lambda: states(stage)["large"].startswith("failed: The model takes"))


def test_models_beyond_the_budget_answer_when_asked_and_others_make_room(crowded: Stage) -> None:
    for _ in range(2):
        for number in range(MODELS):
            reply = crowded.predict(["good film"], f"many-{number}")
            assert reply.status_code == 200
            assert reply.json()["predictions"][0]["label"] == ("negative" if number % 2 else "positive")
            until(lambda number=number: states(crowded)[f"many-{number}"] == "ready")
            found = Counter(state for slug, state in states(crowded).items() if slug.startswith("many"))
            assert set(found) <= {"ready", "idle"} and found["ready"] <= 5 - 1
    # The one that was asked longest ago has gone, and the process is no less ready for it.
    assert states(crowded)["many-0"] == "idle" and crowded.serving.answers()


def test_requests_for_an_idle_model_share_one_load(crowded: Stage) -> None:
    others = [f"many-{number}" for number in range(1, MODELS)]
    until(lambda: all(crowded.predict(["bad"], slug).status_code == 200 for slug in others))
    until(lambda: states(crowded)["many-0"] == "idle")
    revision = crowded.control.routes[3].revisions[0].revision
    before = crowded.serving.log.read_text().count(f'"revision": "{revision}"')
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: crowded.predict(["good film"], "many-0"), range(16)))
    assert {reply.json()["predictions"][0]["label"] for reply in replies} == {"positive"}
    # One line says that it was unloaded before, one that it is there again.
    assert crowded.serving.log.read_text().count(f'"revision": "{revision}"') <= before + 2


def test_who_cannot_wait_for_the_load_is_told_so(crowded: Stage) -> None:
    for number in range(1, MODELS):
        crowded.predict(["good"], f"many-{number}")
    until(lambda: states(crowded)["many-0"] == "idle")
    headers = {**crowded.auth, "X-Timeout-Ms": "2"}
    reply = crowded.client.post("/v1/endpoints/many-0/predict", json={"inputs": ["good"]}, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "deadline_exceeded")
    assert int(reply.headers["retry-after"]) >= 1
    assert crowded.predict(["good"], "many-0").status_code == 200


def test_an_idle_endpoint_describes_itself_in_both_protocols(crowded: Stage) -> None:
    for number in range(1, MODELS):
        crowded.predict(["good"], f"many-{number}")
    until(lambda: states(crowded)["many-0"] == "idle")
    assert crowded.client.get("/v2/models/many-0/ready", headers=crowded.auth).status_code == 200
    described = crowded.client.get("/v1/endpoints/many-0", headers=crowded.auth)
    assert described.status_code == 200 and described.json()["labels"] == bundles.TEXT_LABELS


@pytest.mark.parametrize(
    ("text", "size"), [("4096", 4096), ("2GiB", 2**31), ("500 MB", 500 * MIB), ("1.5g", None), ("0", None)]
)
def test_the_budget_is_a_size_or_refused(text: str, size: int | None) -> None:
    environ = {"REDIS_URL": "redis://x", "SLIPWAY_SERVING_MEMORY": text}
    if size is None:
        with pytest.raises(ConfigError, match="SLIPWAY_SERVING_MEMORY"):
            Config.read(environ)
    else:
        assert Config.read(environ).memory == size
        assert Config.read({**environ, "SLIPWAY_SERVERS": "4"}).memory == size // 4
