"""Keys, models and shares change while clients ask: nobody notices but those who should."""

import json
import time
from pathlib import Path
from typing import Any

from tests.serving import bundles
from tests.serving.clients import asking
from tests.serving.conftest import Stage
from tests.serving.running import new_id, until
from workers.contracts import keys, names
from workers.contracts.snapshot import Shadow


def test_a_revoked_key_opens_nothing_within_a_second(own_stage: Stage) -> None:
    key = own_stage.control.add_key()
    own_stage.control.publish()
    with asking(own_stage.serving.port, "reviews", key, clients=4) as seen:
        until(lambda: len(seen.answers) > 200)
        del own_stage.control.keys[keys.digest(key)]
        own_stage.control.publish()
        revoked = time.monotonic()
        until(lambda: seen.statuses()[401] > 50)
    late = [asked - revoked for asked, status, _, _ in seen.details if status == 200 and asked > revoked]
    assert max(late, default=0) < 1.0
    assert not seen.broken


def test_a_revocation_reaches_a_process_that_missed_the_message(own_stage: Stage) -> None:
    """The snapshot changes without a word on the channel."""
    client, key = own_stage.control.client, own_stage.control.add_key()
    own_stage.control.publish()
    assert own_stage.predict(["good"], key=key).status_code == 200
    del own_stage.control.keys[keys.digest(key)]
    client.execute_command("ACL", "SETUSER", "default", "resetchannels")  # PUBLISH is heard by nobody
    client.execute_command("ACL", "SETUSER", "default", "allchannels")
    silent = own_stage.control.client.pipeline()
    version = own_stage.control.version + 1
    text = client.get(names.SNAPSHOT).decode().replace(f'"version":{version - 1}', f'"version":{version}')
    silent.set(names.SNAPSHOT, text.replace(keys.digest(key), "0" * 64)).set(names.SNAPSHOT_VERSION, version).execute()
    started = time.monotonic()
    until(lambda: own_stage.predict(["good"], key=key).status_code == 401, 5)
    assert time.monotonic() - started < 1.0


def test_a_new_key_works_from_its_first_request(own_stage: Stage) -> None:
    for _ in range(30):
        key = own_stage.control.add_key()
        own_stage.control.publish()
        assert own_stage.predict(["good"], key=key).status_code == 200


def test_deploying_promoting_and_rolling_back_under_full_load_costs_no_request(
    own_stage: Stage, bundle_folder: Path
) -> None:
    control, first = own_stage.control, own_stage.text.revisions[0]
    second = control.revision(bundle_folder / "flipped.zip", number=2)
    shadow = Shadow(rollout=new_id("rol"), revision=second.revision, share=100)

    def publish(old: int, **fields: Any) -> None:
        shares = [(first, old), (second, 100 - old)]
        revisions = [revision.model_copy(update={"traffic": traffic}) for revision, traffic in shares]
        control.replace(own_stage.text, revisions=revisions, **fields)
        control.publish()

    with asking(own_stage.serving.port, "reviews", own_stage.key, clients=200) as seen:

        def last(count: int = 300) -> set[int | None]:
            return {model for _, _, model, _ in seen.details[-count:]}

        until(lambda: len(seen.answers) > 1000)
        publish(90, candidate=second.revision)  # on trial, at a share
        until(lambda: last() == {1, 2})
        publish(100, candidate=second.revision, shadow=shadow)  # only copies
        until(lambda: last() == {1})
        publish(0)  # promoted
        until(lambda: last() == {2})
        publish(100)  # rolled back
        asked = time.monotonic()
        until(lambda: last() == {1})
        assert time.monotonic() - asked < 2
    assert set(seen.statuses()) == {200} and not seen.broken and not seen.wrong


def test_a_bad_bundle_never_answers_and_the_old_model_goes_on(own_stage: Stage, tmp_path: Path) -> None:
    control = own_stage.control
    failed = {"examples": 9, "label_flips": 3, "max_abs_difference": 0.5, "tolerance": 1e-4, "passed": False}
    bad = control.revision(bundles.text_bundle(tmp_path / "bad.zip", certificate=failed), number=2)
    gone = bad.model_copy(update={"revision": new_id("rev"), "bundle_sha256": "0" * 64, "bundle_key": "jobs/none"})
    old = own_stage.text.revisions[0].model_copy(update={"traffic": 0})
    control.replace(own_stage.text, revisions=[old, bad, gone])
    control.publish()

    def said() -> dict[str, str]:
        (key,) = control.client.keys(names.serving_key("*"))
        found: dict[str, str] = json.loads(control.client.get(key))["revisions"]
        return found

    until(lambda: said().get(bad.revision, "").startswith("failed: ") and said().get(gone.revision, "").startswith("f"))
    assert said()[old.revision] == "ready"
    assert str(own_stage.serving.log.parent) not in str(said())
    assert own_stage.predict(["good"]).json()["model"]["number"] == 1


def test_an_endpoint_whose_model_is_not_there_yet_says_so(own_stage: Stage, tmp_path: Path) -> None:
    key = f"{names.attempt_prefix(new_id('job'), 1)}/output/bundle.zip"
    missing = own_stage.text.revisions[0].model_copy(
        update={"revision": new_id("rev"), "bundle_sha256": "1" * 64, "bundle_key": key}
    )
    own_stage.control.add_route("later", bundles.text_bundle(tmp_path / "x.zip"), revisions=[missing])
    own_stage.control.publish()
    reply = own_stage.predict(["good"], "later")
    assert reply.status_code == 503 and reply.json()["error"]["code"] == "endpoint_not_ready"
    assert int(reply.headers["retry-after"]) >= 1
    assert own_stage.record(reply)["code"] == "endpoint_not_ready"


def test_the_last_snapshot_is_found_again_after_redis_lost_everything(own_stage: Stage) -> None:
    with asking(own_stage.serving.port, "reviews", own_stage.key, clients=2) as seen:
        until(lambda: len(seen.answers) > 50)
        own_stage.control.client.flushall()
        own_stage.control.version = 0
        own_stage.control.publish()
        count = len(seen.answers)
        until(lambda: len(seen.answers) > count + 200)
    assert set(seen.statuses()) == {200}
