"""Everything at once: people work, and by a seed one process after the other is killed, stopped or loses its data.

SLIPWAY_TEST_HISTORY=seed:faults runs another course, and a longer one.
"""

import os
import random
import signal
import time
from typing import Any

import httpx
import psutil
import pytest
import redis

from slipway import embedded
from tests.faults.history import History, Users
from tests.journey.client import Client, wait_for
from tests.stack import Stack, command_of

SEED, FAULTS = (int(number) for number in os.environ.get("SLIPWAY_TEST_HISTORY", "7:8").split(":"))
PARTS = {
    "web": "slipway.web",
    "worker": "-A slipway worker",
    "beat": "-A slipway beat",
    "recorder": "manage.py record",
    "serving": "workers.serving",
    "runner": "workers.runner.app",
    "redis": "redis-server",
    "postgres": "postgres -D",
}
WORDS, NOUNS = ("good", "fine", "bad", "awful"), ("film", "day")
MOMENT_S = 1.5  # how long such a fault lasts
KINDS = (
    *((part, "killed") for part in PARTS),
    *((part, "stopped") for part in ("serving", "runner", "web")),
    ("redis", "full"),
)


@pytest.fixture(scope="module")
def client(stack: Stack) -> Client:
    return Client(stack.url, stack.predict_url, stack.token)


@pytest.fixture(scope="module")
def users(stack: Stack, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Users:
    """A team with an endpoint that tells good from bad."""
    file = tmp_path_factory.mktemp("history") / "small.csv"
    lines = [f"{word} {noun} {n},{word in ('good', 'fine')}" for n in range(15) for word in WORDS for noun in NOUNS]
    file.write_text("\n".join(["text,label", *lines]))
    team = client.get("/me")["teams"][0]["id"]
    project = str(client.post("/projects", 201, {"name": "History"})["id"])
    dataset = client.upload(project, "Small", "text", file)
    client.imported(dataset)
    job = client.trained(client.train(project, dataset, "text-classification", preset="fast"))
    endpoint = client.deploy(project, "History", job["model"])
    key = client.key(team, "history")["key"]
    users = Users(stack, team, project, endpoint, key, SEED)
    wait_for(lambda: users._predict(key, "good film")[0] == 200, "the endpoint to answer", 30)
    return users


def process_of(stack: Stack, part: str) -> psutil.Process | None:
    """The process of a part, while there is one."""
    found = [process for command, process in stack.children().items() if PARTS[part] in command]
    return min(found, key=lambda process: process.pid, default=None)


def strike(stack: Stack, part: str, how: str) -> None:
    """Kill a part, stop it for a moment, or leave Redis no room for a moment."""
    if how == "full":
        with redis.Redis.from_url(embedded.addresses(stack.home).redis_url) as server:
            server.config_set("maxmemory", 1)
            time.sleep(MOMENT_S)
            server.config_set("maxmemory", 0)
    elif (process := process_of(stack, part)) is not None and PARTS[part] in command_of(process):
        process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        if how == "stopped":
            time.sleep(MOMENT_S)
            process.send_signal(signal.SIGCONT)


def is_well(stack: Stack) -> bool:
    """S1: web and serving are ready, and every part runs."""
    try:
        ready = [
            httpx.get(url, timeout=10).status_code for url in (f"{stack.url}/readyz", f"{stack.predict_url}/readyz")
        ]
    except httpx.TransportError:
        return False
    return ready == [200, 200] and all(process_of(stack, part) for part in PARTS)


def check_imports(client: Client, users: Users, said: History) -> None:
    """D2 and J1: every import that was taken on has ended, and its version is whole."""
    for dataset, rows in said.datasets.items():
        found = client.imported(dataset)
        assert found["rows"] + found["rejected"] == rows, found

    def in_state(*states: str) -> list[Any]:
        return [job for job in client.get("/jobs", project=users.project)["results"] if job["state"] in states]

    wait_for(lambda: not in_state("queued", "running"), "J1")
    assert not in_state("failed")


def check_usage(client: Client, users: Users, said: History) -> None:
    """U1 to U3: every answer is counted once, and what nobody received only where a connection broke."""
    received = len(said.answers)

    def counted() -> int:
        rows = client.get("/usage", endpoint=users.endpoint["id"], by="day", group="status")["results"]
        return sum(row["requests"] for row in rows)

    wait_for(lambda: counted() >= received, f"{received} answers to be counted", 60)
    assert received <= counted() <= received + said.broken
    minutes = client.get("/usage", endpoint=users.endpoint["id"], by="minute", group="key")["results"]
    assert sum(row["requests"] for row in minutes) == counted()
    wait_for(lambda: client.get("/usage/reconciliation", team=users.team)["agrees"], "all counts to agree", 30)


def test_a_history(stack: Stack, client: Client, users: Users) -> None:
    chance = random.Random(SEED)
    course = [fault for _ in range(0, FAULTS, len(KINDS)) for fault in chance.sample(KINDS, len(KINDS))][:FAULTS]
    print(f"seed {SEED}: {course}")
    with users.at_work() as said:
        for part, how in course:
            count = len(said.answers)
            strike(stack, part, how)
            wait_for(lambda count=count: len(said.answers) > count + 20, "predictions to go on", 30)
    wait_for(lambda: is_well(stack), "all to be well", 60)
    assert said.wrong == []
    assert all(len(labels) == 1 for labels in said.labels.values()), said.labels
    check_imports(client, users, said)
    check_usage(client, users, said)


def test_redis_loses_all_that_it_had(stack: Stack, client: Client, users: Users) -> None:
    """Keys and routes come back from the database; nobody who may ask is refused meanwhile."""
    with redis.Redis.from_url(embedded.addresses(stack.home).redis_url) as server:
        server.flushall()
        began = time.monotonic()
        while not server.exists("slipway:snapshot"):
            assert users._predict(users.key, "good film")[0] == 200
            assert time.monotonic() < began + 10
    assert users._predict(users.key, "good film")[0] == 200
