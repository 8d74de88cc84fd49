"""A serving process is killed at each step of taking over a new model: the old one answers or the new, never a mix."""

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.faults.doer import EVERY
from tests.serving import bundles
from tests.serving.conftest import Stage, staged
from tests.serving.running import until
from tests.stack import ROOT
from workers.contracts import names
from workers.contracts.snapshot import ServingStatus

HOOKS = Path(__file__).parent / "hooks"
# Further apart than steps of the protocol: each costs a start of the process.
STRIDE = 1 if EVERY == 1 else 5


def said_last(stage: Stage, revision: str) -> str:
    """What the process that spoke last says of a revision."""
    client = stage.control.client
    texts = [client.get(names.serving_key(name.decode())) for name in client.smembers(names.SERVERS)]
    told = [ServingStatus.model_validate_json(text) for text in texts if text]
    return max(told, key=lambda one: one.time).revisions.get(revision, "") if told else ""


def check_answer(stage: Stage, old: int, new: int) -> int:
    """P1: the model that an answer names has given it. Its number."""
    reply = stage.predict(["good film"])
    assert reply.status_code == 200, reply.text
    number = int(reply.json()["model"]["number"])
    assert number in (old, new)
    assert reply.json()["predictions"][0]["label"] == ("positive" if number % 2 else "negative")
    return number


def is_tidy(cache: Path) -> bool:
    """S3: of what the killed process had begun, nothing stays on the disk."""
    return not any(path.name.startswith(("open-", ".put-")) for path in cache.iterdir())


def test_a_process_killed_at_any_step_of_a_deployment(
    tmp_path: Path, redis_server: str, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = tmp_path / "kill.json"

    def make(number: int, step: int) -> Path:
        """The bundle of this number, whose deployment is to be cut off at a step by the process that starts next."""
        model = bundles.text_model(flipped=number % 2 == 0, more_words=number)
        path = bundles.text_bundle(tmp_path / f"{number}.zip", model=model)
        kill.write_text(json.dumps({"file": bundles.sha256(path), "step": step}))
        return path

    step, bundle = 1, make(2, 1)
    variables: dict[str, Any] = {"PYTHONPATH": f"{HOOKS}:{ROOT}", "SLIPWAY_TEST_KILL": str(kill)}
    with staged(tmp_path, redis_server, bundle_folder, **variables) as stage:
        serving, control = stage.serving, stage.control
        (old,) = stage.text.revisions
        for number in count(2):
            new = control.revision(bundle, number=number)
            control.replace(stage.text, revisions=[old.model_copy(update={"traffic": 0}), new])
            control.publish()
            until(lambda new=new: serving.process.poll() is not None or said_last(stage, new.revision) == "ready")
            if survived := serving.process.poll() is None:
                break
            step += STRIDE
            bundle = make(number + 1, step)
            serving.process = serving.again()
            until(serving.answers, 60)
            until(lambda number=number: check_answer(stage, number - 1, number) == number)
            assert said_last(stage, new.revision) == "ready"
            until(lambda: is_tidy(tmp_path / "serving"))
            old = new
        assert survived and number > 3
