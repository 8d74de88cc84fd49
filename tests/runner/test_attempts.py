"""How an attempt goes, and every way in which it may end."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.runner.bench import JOB, SOURCE, Bench, is_gone, make_spec, until
from workers.contracts import names
from workers.contracts.errors import InfraError
from workers.contracts.events import RUNNER_STOPPED
from workers.contracts.job import InputFile
from workers.runner.host import run_job
from workers.storage import FolderStorage, Storage


def test_a_job_is_run_and_its_result_stored_before_its_success_is_told(bench: Bench) -> None:
    events = bench.run("succeed")
    assert [event["type"] for event in events] == ["started", "progress", "metric", "succeeded"]
    assert bench.storage.read_bytes(f"{names.attempt_prefix(JOB, 1)}/output/data.parquet") == b"rows"
    stored = json.loads(bench.storage.read_bytes(f"{names.attempt_prefix(JOB, 1)}/result.json"))
    assert stored == events[-1]["result"]
    assert events[0]["runner"] == "runner-1"


def test_events_are_numbered_from_one_without_a_gap(bench: Bench) -> None:
    bench.run("many_lines")
    assert [int(entry["seq"]) for entry in bench.entries()] == list(range(1, 2005))
    lines = [event["message"] for event in bench.events() if event["type"] == "log"]
    assert lines == [f"line {number}" for number in range(2000)]


def test_nothing_is_left_behind(bench: Bench) -> None:
    bench.run("succeed")
    assert list((bench.home / "jobs").iterdir()) == []
    assert bench.client.get(names.lease_key(JOB)) is None


def _said(bench: Bench) -> list[Any]:
    return [json.loads(event["message"]) for event in bench.events() if event["type"] == "log"]


def test_the_child_knows_no_credentials(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "SLIPWAY_SECRET_KEY", "SLIPWAY_STORAGE"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    bench.run("environment")
    environment, _ = _said(bench)
    assert "canary" not in environment.values()
    assert environment["OMP_NUM_THREADS"] == "1"
    assert str(bench.home) in environment["HOME"]


def test_the_child_stands_behind_whoever_waits_for_an_answer(bench: Bench) -> None:
    bench.run("environment")
    _, about = _said(bench)
    assert about["niceness"] == min(19, os.nice(0) + 15)


def test_what_the_child_left_running_is_ended_with_it(bench: Bench) -> None:
    bench.run("grandchild")
    until(lambda: is_gone(bench.child_pid()), "the grandchild to be gone", 2)


def test_a_failure_is_told_with_the_childs_own_card(bench: Bench) -> None:
    events = bench.run("fail")
    assert events[-1]["type"] == "failed"
    assert events[-1]["error"]["code"] == "one_class_only"
    assert events[-1]["error"]["evidence"] == "all rows say yes"


def test_a_crash_is_told_with_its_last_words_and_without_folders(bench: Bench) -> None:
    error = bench.run("crash")[-1]["error"]
    assert error["code"] == "engine_crashed"
    assert "RuntimeError: could not open source" in error["evidence"]
    assert "exit code 1" in error["evidence"]
    assert "/" not in error["evidence"]


def test_an_end_without_a_result_is_a_crash(bench: Bench) -> None:
    assert bench.run("leave")[-1]["error"]["code"] == "engine_crashed"


def test_a_killed_child_is_an_interruption_and_its_checkpoint_is_kept(bench: Bench) -> None:
    events = bench.run("kill")
    assert [event["type"] for event in events] == ["started", "checkpoint", "interrupted"]
    assert "SIGKILL" in events[-1]["reason"]
    file = events[1]["files"][0]["name"]
    assert bench.storage.exists(f"{names.attempt_prefix(JOB, 1)}/checkpoints/{file}")


def test_a_segmentation_fault_is_a_crash_that_would_come_again(bench: Bench) -> None:
    error = bench.run("segfault")[-1]["error"]
    assert error["code"] == "engine_crashed"
    assert "signal 11" in error["evidence"]


def test_garbage_is_dropped_and_counted_and_forged_events_too(bench: Bench) -> None:
    events = bench.run("garbage")
    assert [event["type"] for event in events] == ["started", "log", "progress", "metric", "log", "succeeded"]
    assert events[1]["message"] == "torn and whole"
    assert events[-2]["message"].startswith("5 lines")
    assert events[-1]["result"]["rows"] == 3


def test_a_pipe_in_place_of_the_events_holds_nobody_up(bench: Bench) -> None:
    assert bench.run("pipe")[-1]["type"] == "succeeded"


@pytest.mark.parametrize("behaviour", ["link", "other_bytes", "bad_result", "nul_result"])
def test_a_result_that_is_not_what_it_says_is_refused(bench: Bench, behaviour: str) -> None:
    error = bench.run(behaviour)[-1]["error"]
    assert error["code"] == "job_crashed"
    assert not bench.storage.exists(f"{names.attempt_prefix(JOB, 1)}/result.json")


def test_the_time_limit_ends_a_job(bench: Bench) -> None:
    events = bench.run("hang", time_limit_s=2)
    assert events[-1]["error"]["code"] == "time_limit"


@pytest.mark.parametrize("behaviour", ["hang", "hang_deaf"])
def test_a_cancelled_job_is_gone_within_five_seconds(bench: Bench, behaviour: str) -> None:
    thread = bench.start(bench.host(), bench.queue(make_spec(behaviour)))
    pid = bench.child_pid()
    bench.client.set(names.cancel_key(JOB), "1")
    until(lambda: is_gone(pid), "the child to be gone", 5)
    thread.join(5)
    assert bench.types()[-1] == "cancelled"


def test_a_runner_that_has_to_stop_hands_the_job_back_at_once(bench: Bench) -> None:
    host = bench.host()
    thread = bench.start(host, bench.queue(make_spec("hang")))
    pid = bench.child_pid()
    host.stopping.set()
    thread.join(6)
    assert not thread.is_alive()
    assert is_gone(pid)
    last = bench.events()[-1]
    assert (last["type"], last["reason"]) == ("interrupted", RUNNER_STOPPED)
    assert "checkpoint" in bench.types()
    assert bench.client.get(names.lease_key(JOB)) is None


def test_an_attempt_that_lost_its_lease_stops_and_says_no_more(bench: Bench) -> None:
    thread = bench.start(bench.host(), bench.queue(make_spec("hang")))
    pid = bench.child_pid()
    bench.queue(make_spec("hang", attempt=2))
    bench.client.set(names.lease_key(JOB), "2:runner-2")
    until(lambda: is_gone(pid), "the child to be gone", 10)
    thread.join(10)
    assert bench.types()[-1] in ("log", "checkpoint")
    assert bench.client.get(names.lease_key(JOB)) == b"2:runner-2"


def test_a_lease_that_redis_forgot_is_taken_again(bench: Bench) -> None:
    bench.start(bench.host(), bench.queue(make_spec("hang")))
    pid = bench.child_pid()
    bench.client.delete(names.lease_key(JOB))
    until(lambda: bench.client.get(names.lease_key(JOB)) == b"1:runner-1", "the lease to be back", 8)
    assert not is_gone(pid)


def test_a_forgotten_lease_is_not_taken_again_once_the_job_was_given_away(bench: Bench) -> None:
    bench.start(bench.host(), bench.queue(make_spec("hang")))
    pid = bench.child_pid()
    bench.queue(make_spec("hang", attempt=2))
    bench.client.delete(names.lease_key(JOB))
    until(lambda: is_gone(pid), "the child to be gone", 10)


def test_two_runners_with_the_same_message_run_it_once(bench: Bench) -> None:
    spec = bench.queue(make_spec("hang"))
    bench.start(bench.host(), spec)
    bench.child_pid()
    assert not run_job(bench.host("runner-2"), None, JOB, 1)


def test_a_later_attempt_takes_the_lease_of_an_earlier_one(bench: Bench) -> None:
    bench.client.set(names.lease_key(JOB), "1:runner-that-is-gone")
    assert bench.run("succeed", attempt=2)[-1]["type"] == "succeeded"


@pytest.mark.parametrize("attempt", [1, 3])
def test_a_message_for_another_attempt_than_the_wanted_one_starts_nothing(bench: Bench, attempt: int) -> None:
    bench.queue(make_spec("succeed", attempt=2))
    assert not run_job(bench.host(), None, JOB, attempt)
    assert bench.events() == []


def test_a_message_that_comes_again_after_the_end_starts_nothing(bench: Bench) -> None:
    said = bench.run("succeed")
    assert not run_job(bench.host(), None, JOB, 1)
    assert bench.events() == said


def test_a_job_without_a_spec_is_over(bench: Bench) -> None:
    assert not run_job(bench.host(), None, JOB, 1)


def test_a_later_attempt_begins_with_the_checkpoint(bench: Bench) -> None:
    first = bench.run("kill")
    checkpoint = first[1]["files"][0]
    key = f"{names.attempt_prefix(JOB, 1)}/checkpoints/{checkpoint['name']}"
    resume = [InputFile(name=checkpoint["name"], key=key, sha256=checkpoint["sha256"])]
    events = bench.run("hang_then_succeed", attempt=2, resume=resume, resume_step=3)
    started = next(event for event in events if event.get("resumed_from_step"))
    assert started["resumed_from_step"] == 3
    assert bench.said("resumed") == "with ['step-3.json']"


def test_the_checkpoints_of_a_job_that_is_done_are_removed(bench: Bench) -> None:
    checkpoint = bench.run("kill")[1]["files"][0]
    key = f"{names.attempt_prefix(JOB, 1)}/checkpoints/{checkpoint['name']}"
    foreign = "jobs/job_of_another/attempts/1/checkpoints/x"
    bench.storage.put_bytes(b"x", foreign)
    resume = [
        InputFile(name=checkpoint["name"], key=key, sha256=checkpoint["sha256"]),
        InputFile(name="x", key=foreign),
    ]
    bench.run("save_and_succeed", attempt=2, resume=resume, resume_step=3)
    assert "checkpoint" in bench.types()
    assert [key for key in bench.storage.list(f"jobs/{JOB}") if "/checkpoints/" in key] == []
    assert bench.storage.exists(foreign)


def test_a_runner_without_room_for_a_folder_fails_the_job(bench: Bench) -> None:
    bench.home.write_text("a file where the folder should be")
    bench.queue(make_spec("succeed"))
    assert run_job(bench.host(), None, JOB, 1)
    assert bench.events()[-1]["error"]["code"] == "job_crashed"
    assert bench.client.get(names.lease_key(JOB)) is None


def test_a_damaged_checkpoint_is_not_used(bench: Bench) -> None:
    bench.storage.put_bytes(b"{}", "jobs/x/step-3.json")
    resume = [InputFile(name="step-3.json", key="jobs/x/step-3.json", sha256="0" * 64)]
    events = bench.run("hang_then_succeed", attempt=2, resume=resume, resume_step=3)
    assert "resumed_from_step" not in next(event for event in events if event["type"] == "started")
    assert bench.said("resumed") == "with []"


def test_an_input_that_was_changed_fails_the_job(bench: Bench) -> None:
    spec = make_spec("succeed")
    changed = spec.model_copy(update={"inputs": [InputFile(name="source", key=SOURCE, sha256="0" * 64)]})
    bench.queue(changed)
    assert run_job(bench.host(), None, JOB, 1)
    assert bench.events()[-1]["error"]["code"] == "input_corrupt"


class _Sulking(FolderStorage):
    """A store that fails a number of times before it works."""

    def __init__(self, root: Path, times: int) -> None:
        super().__init__(root)
        self.left = times

    def _put_file(self, path: Path, key: str) -> None:
        if self.left:
            self.left -= 1
            raise InfraError("storage_unavailable")
        super()._put_file(path, key)


def test_a_store_that_fails_for_a_moment_costs_nothing(bench: Bench, tmp_path: Path) -> None:
    sulking: Storage = _Sulking(tmp_path / "store", times=1)
    bench.storage = sulking
    assert bench.run("succeed")[-1]["type"] == "succeeded"


def test_folders_of_killed_runners_are_cleared_and_those_in_use_are_not(bench: Bench) -> None:
    from workers.runner.folders import clear_leftovers, job_folder

    dead = bench.home / "jobs" / "job-1-dead"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    with job_folder(bench.home, JOB, 1) as mine:
        (mine / "file").touch()
        assert clear_leftovers(bench.home) == 1
        assert (mine / "file").exists()
        assert os.stat(mine.parent).st_mode & 0o777 == 0o700
    assert not dead.exists()
