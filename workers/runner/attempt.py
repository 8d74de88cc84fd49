"""One attempt at one job, from the lease to the last word."""

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis

from workers.contracts.error_codes import CATALOGUE
from workers.contracts.errors import ErrorCard, JobError, SlipwayError
from workers.contracts.events import (
    RUNNER_STOPPED,
    Cancelled,
    Checkpoint,
    Event,
    Failed,
    Interrupted,
    Log,
    Progress,
    Started,
    Succeeded,
    Usage,
)
from workers.contracts.job import JobSpec
from workers.contracts.jobdir import JobDir
from workers.fetch.policy import Policy
from workers.runner import booking, inputs, outputs
from workers.runner.child import Child
from workers.runner.lease import Lease
from workers.runner.relay import Relay
from workers.runner.tail import Tail
from workers.runner.warden import Warden
from workers.storage import Storage

log = logging.getLogger(__name__)

POLL_S: Final = 0.1
# From SIGTERM to SIGKILL. A cancelled job has to be gone within five seconds.
PATIENCE_S: Final = 3.0
_CHECKPOINT_PATIENCE_S: Final = 30.0
_CHECKPOINT_PATIENCE_STOPPING_S: Final = 4.0
# Signals that say nothing about the job: it was killed, by a person or for want of memory. Others are crashes.
_KILLED: Final = {-9: "SIGKILL", -15: "SIGTERM", 143: "SIGTERM", -2: "SIGINT", -1: "SIGHUP"}


@dataclass(slots=True)
class Host:
    """The runner as its attempts see it. `modules` says which program runs which kind of job."""

    name: str
    device: str
    home: Path
    client: redis.Redis
    storage: Storage
    modules: dict[str, str]
    policy: Policy = field(default_factory=Policy)  # what users may have fetched
    devices: int = 1
    stopping: threading.Event = field(default_factory=threading.Event)


class Attempt:
    """One attempt: fetch, start the child, listen to it, store what it made, say how it ended."""

    def __init__(self, host: Host, spec: JobSpec, lease: Lease, folder: Path) -> None:
        self._host, self._spec, self._lease = host, spec, lease
        self._job_dir = JobDir.create(folder, spec)
        self._relay = Relay(host.client, spec.job, spec.attempt)
        self._tail = Tail(self._job_dir.events_path)
        self._warden = Warden(host.client, lease, spec.job, time_limit_s=spec.time_limit_s, stopping=host.stopping)
        self._failed: Failed | None = None
        self._dropped = 0

    def run(self) -> None:
        """The whole attempt. The caller holds the lease; it is let go after the last word has been sent."""
        self._warden.start()
        uploader = outputs.CheckpointUploader(self._host.storage, self._job_dir, self._spec)
        try:
            last = self._work(uploader)
        except SlipwayError as error:
            last = _failed(error.card())
        except Exception:
            log.exception("the runner failed on job %s", self._spec.job)
            last = Interrupted(time=time.time(), reason="The runner failed on an error of its own.")
        if not self._warden.is_lost:
            self._relay.say(last)
            # Sent however long it takes: else a failed job would be taken for a lost one and be run again.
            self._relay.flush_until(self._host.stopping)
        uploader.close(0)
        self._warden.close()

    def _work(self, uploader: outputs.CheckpointUploader) -> Event:
        step = self._fetch()
        if self._warden.verdict:
            return self._ended_from_outside()
        self._say_started(step)
        self._fetch_from_afar()
        if self._warden.verdict:
            return self._ended_from_outside()
        child = Child(self._host.modules[self._spec.kind], self._job_dir.root, self._host.home)
        try:
            self._listen(child, uploader)
            if self._warden.verdict:
                self._end_gently(child, uploader)
        finally:
            child.end()
        self._drain(uploader)
        if self._warden.verdict not in ("lost", "cancelled"):
            stopping = self._host.stopping.is_set()
            uploader.close(_CHECKPOINT_PATIENCE_STOPPING_S if stopping else _CHECKPOINT_PATIENCE_S)
        self._pump(uploader)
        self._tell_dropped()
        if self._warden.verdict:
            return self._ended_from_outside()
        last = self._conclude(child)
        if isinstance(last, Succeeded):
            uploader.discard()
        return last

    # --- Before the child --------------------------------------------------------------------------------------------

    def _fetch(self) -> int | None:
        """Put inputs and checkpoint in place; the step to resume from."""
        inputs.fetch_inputs(self._host.storage, self._spec, self._job_dir, self._warden.has_spoken)
        try:
            inputs.fetch_checkpoint(self._host.storage, self._spec, self._job_dir, self._warden.has_spoken)
        except JobError:
            self._say_log("The last checkpoint cannot be used. The job starts again from the beginning.")
            return None
        return self._spec.resume_step if self._spec.resume else None

    def _say_started(self, step: int | None) -> None:
        host = self._host
        self._relay.say(Started(time=time.time(), runner=host.name, device=host.device, resumed_from_step=step))
        self._relay.flush()

    def _fetch_from_afar(self) -> None:
        """What users named an address of, telling how far it is."""
        last = 0.0

        def tell(read: int, size: int | None) -> None:
            nonlocal last
            if time.monotonic() - last < 1:
                return
            last = time.monotonic()
            of = f" of {size / 1e6:,.1f}" if size else ""
            phase = f"Fetching the file: {read / 1e6:,.1f}{of} MB"
            self._relay.say(Progress(time=time.time(), fraction=read / size if size else 0, phase=phase))
            self._relay.flush()

        host, given_up = self._host, self._warden.has_spoken
        for file in self._spec.inputs:
            if file.url:
                inputs.fetch_from_afar(host.storage, file, self._job_dir.inputs, host.policy, given_up, tell)

    # --- While it runs -----------------------------------------------------------------------------------------------

    def _listen(self, child: Child, uploader: outputs.CheckpointUploader) -> None:
        """Until the child has ended or has to end."""
        while child.exit_code() is None and self._warden.verdict is None:
            self._pump(uploader)
            self._warden.has_spoken.wait(POLL_S)

    def _pump(self, uploader: outputs.CheckpointUploader, *, even_if_full: bool = False) -> None:
        """Pass on what the child has said and what has been stored."""
        if even_if_full or not self._relay.is_full:
            read = self._tail.read()
            self._dropped += read.dropped
            for event in read.events:
                self._hear(event, uploader)
        for checkpoint in uploader.stored():
            self._relay.say(checkpoint)
        self._relay.flush()

    def _drain(self, uploader: outputs.CheckpointUploader) -> None:
        """What the child still said before it ended, up to 64 megabytes."""
        for _ in range(64):
            if self._tail.at_end:
                break
            self._pump(uploader, even_if_full=True)

    def _hear(self, event: Event, uploader: outputs.CheckpointUploader) -> None:
        if isinstance(event, Failed):
            self._failed = event  # its place is at the end
        elif isinstance(event, Checkpoint):
            uploader.offer(event)  # it is passed on when it is stored
        elif isinstance(event, Usage):
            for record in booking.records(self._spec, event):
                self._relay.book(record)
        else:
            self._relay.say(event)

    def _end_gently(self, child: Child, uploader: outputs.CheckpointUploader) -> None:
        if not self._warden.is_lost:
            child.ask_to_end()
        end = time.monotonic() + PATIENCE_S
        while child.exit_code() is None and time.monotonic() < end and not self._warden.is_lost:
            self._pump(uploader)
            time.sleep(POLL_S)

    # --- After it ----------------------------------------------------------------------------------------------------

    def _ended_from_outside(self) -> Event:
        match self._warden.verdict:
            case "cancelled":
                return Cancelled(time=time.time())
            case "time_limit":
                hours = self._spec.time_limit_s / 3600
                return _failed(JobError("time_limit", evidence=f"The limit is {hours:.1f} hours.").card())
            case _:
                return Interrupted(time=time.time(), reason=RUNNER_STOPPED)

    def _conclude(self, child: Child) -> Event:
        """The last word, by what the child left behind and how it ended."""
        result = outputs.read_result(self._job_dir, self._spec)
        if result is not None:
            if self._spec.batch and not self._relay.flush_until(self._warden.has_spoken):
                return self._ended_from_outside()  # a result that is there is one whose usage was booked
            stored = outputs.upload_result(
                self._host.storage, self._job_dir, self._spec, result, self._warden.has_spoken, self._say_waiting
            )
            if not stored:
                return self._ended_from_outside()
            if card := result.get("error"):
                return Failed(time=time.time(), error=_checked(ErrorCard.model_validate(card)), result=result)
            return Succeeded(time=time.time(), result=result)
        if self._failed:
            return _failed(_checked(self._failed.error))
        code = child.exit_code() or 0
        if code in _KILLED:
            return Interrupted(time=time.time(), reason=f"The job's process was killed ({_KILLED[code]}).")
        how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
        return _failed(JobError("engine_crashed", evidence=f"{how}\n{child.last_words()}".strip()).card())

    def _say_waiting(self) -> None:
        """The result is made, and the store does not take it."""
        phase = "Storage does not answer. The result is kept until it does."
        self._relay.say(Progress(time=time.time(), fraction=1.0, phase=phase))
        self._relay.flush()

    def _tell_dropped(self) -> None:
        if self._dropped:
            self._say_log(f"{self._dropped} lines that the job wrote about its course could not be understood.")

    def _say_log(self, message: str) -> None:
        self._relay.say(Log(time=time.time(), level="warning", message=message))


def _failed(card: ErrorCard) -> Failed:
    return Failed(time=time.time(), error=card)


def _checked(card: ErrorCard) -> ErrorCard:
    """The child's card, if it is one of ours."""
    if card.code in CATALOGUE:
        return card
    return JobError("job_crashed", evidence=card.message[:1000]).card()
