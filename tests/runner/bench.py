"""A runner in this process, its Redis and its storage, and a job to give it."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from workers.contracts import names
from workers.contracts.job import IngestSpec, InputFile, JobSpec
from workers.runner.attempt import Host
from workers.runner.host import connect, run_job
from workers.storage import Storage

JOB = "job_" + "a" * 24
TEAM = "tem_" + "a" * 24
SOURCE = f"teams/{TEAM}/uploads/upl_{'a' * 24}"


def until(probe: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """Ask until the probe answers something true; its answer."""
    end = time.monotonic() + timeout_s
    while not (found := probe()):
        assert time.monotonic() < end, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.02)  # between two questions, not instead of one
    return found


def make_spec(behaviour: str, attempt: int = 1, job: str = JOB, **fields: Any) -> JobSpec:
    """An ingest job whose child behaves as told."""
    return JobSpec(
        job=job,
        attempt=attempt,
        team=TEAM,
        kind="ingest",
        inputs=[InputFile(name="source", key=SOURCE)],
        output_prefix=names.attempt_prefix(job, attempt),
        ingest=IngestSpec(kind="text", filename=behaviour),
        **fields,
    )


def is_gone(pid: int) -> bool:
    """Whether a process runs no more; init may not have cleared it away yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass
class Bench:
    """What a test of the runner needs."""

    client: redis.Redis
    storage: Storage
    home: Path
    url: str
    threads: list[threading.Thread] = field(default_factory=list)
    hosts: list[Host] = field(default_factory=list)

    def host(self, name: str = "runner-1") -> Host:
        """A runner whose ingest jobs are the fake child."""
        made = Host(
            name=name,
            device="cpu (2 cores)",
            home=self.home,
            client=connect(self.url),
            storage=self.storage,
            modules={"ingest": "tests.runner.fake_child"},
        )
        self.hosts.append(made)
        return made

    def queue(self, spec: JobSpec) -> JobSpec:
        """Store the spec and its input, as the control plane does."""
        self.storage.put_bytes(b"text,label\n", SOURCE)
        self.storage.put_bytes(spec.model_dump_json().encode(), names.job_spec_key(spec.job))
        return spec

    def run(self, behaviour: str, **fields: Any) -> list[dict[str, Any]]:
        """Run a job from beginning to end; what was said of it."""
        spec = self.queue(make_spec(behaviour, **fields))
        assert run_job(self.host(), None, spec.job, spec.attempt)
        return self.events()

    def start(self, host: Host, spec: JobSpec) -> threading.Thread:
        """Run a job in a thread."""
        thread = threading.Thread(target=run_job, args=(host, None, spec.job, spec.attempt), daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def close(self) -> None:
        """End what still runs."""
        for host in self.hosts:
            host.stopping.set()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
        for host in self.hosts:
            host.client.close()

    def entries(self) -> list[dict[str, str]]:
        """The fields of every entry of the event stream."""
        found = self.client.xrange(names.STREAM_EVENTS)
        return [{name.decode(): value.decode() for name, value in fields.items()} for _id, fields in found]

    def events(self) -> list[dict[str, Any]]:
        """The events in the stream."""
        return [json.loads(entry["event"]) for entry in self.entries()]

    def types(self) -> list[str]:
        """What kinds of events were said, in order."""
        return [event["type"] for event in self.events()]

    def said(self, word: str) -> str | None:
        """The rest of the first log line that begins with a word."""
        for event in self.events():
            if event["type"] == "log" and event["message"].startswith(f"{word} "):
                return str(event["message"].removeprefix(f"{word} "))
        return None

    def child_pid(self) -> int:
        """The process that the job said it is, once it has."""
        return int(until(lambda: self.said("pid"), "the child to say its number"))
