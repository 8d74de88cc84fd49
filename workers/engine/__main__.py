"""`python -m workers.engine JOBDIR`: run the train job of a folder.

Exit code 0, 1 (failed, with a card), 143 (SIGTERM).
"""

import os

# Before torch and its OpenMP are loaded: threads that wait must sleep, not spin on cores that other processes need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import errno
import shutil
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from workers.contracts.errors import ErrorCard, JobError, SlipwayError
from workers.contracts.jobdir import JobDir
from workers.contracts.manifest import SUSPECTS, TrainResult
from workers.contracts.report import read_report
from workers.engine.devices import devices_of, die_with_parent, is_rank, launch, leave_card
from workers.engine.plan import learn
from workers.engine.run import Run
from workers.task_templates import TEMPLATES


def run_job(job_dir: JobDir) -> None:
    """Train, evaluate, export, certify, write result.json. Raises SlipwayError, and whatever a bug raises."""
    spec = job_dir.spec()
    if spec.train is None or spec.train.template not in TEMPLATES:
        raise JobError("template_unknown", evidence=spec.train.template if spec.train else "")
    template = TEMPLATES[spec.train.template]
    run = Run(job_dir, spec, template.resolve(spec.train.preset, spec.train.parameters))
    run.progress(0.0, "Starting")
    if template.kind != spec.train.dataset.kind:
        evidence = f"{template.title} takes {template.kind} data; this is {spec.train.dataset.kind} data."
        raise JobError("template_mismatch", evidence=evidence)
    from workers.engine.bundle import export_bundle, zip_bundle
    from workers.engine.suspects import find_suspects

    run.world.join(run.device)
    if run.world.rank == 0:
        job_dir.device(run.device_label)
    learned = learn(run, template)
    run.world.leave()
    if run.world.rank:
        return
    run, trained = learned.run, learned.trained
    trained.notes = [*trained.notes, *run.notes]
    run.progress(0.91, "Evaluating")
    metrics, measured = trained.evaluate()
    metrics |= learned.metrics
    job_dir.output.mkdir(exist_ok=True)
    suspected = find_suspects(run, trained, learned.held_out)
    if suspected:
        learned.report["suspected_labels"] = suspected.model_dump(mode="json")
    report = read_report({**measured, **learned.report}).model_dump(mode="json")
    folder = job_dir.root / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    manifest = export_bundle(run, template, trained, metrics, report, folder)
    run.progress(0.99, "Packing")
    zip_bundle(folder, job_dir.output / "bundle.zip")
    if suspected:
        (job_dir.root / SUSPECTS).replace(job_dir.output / SUSPECTS)
    result = TrainResult(
        metrics=metrics,
        report=report,
        certificate=manifest.certificate,
        manifest=manifest,
        useful_seconds=round(run.useful_seconds(), 3),
    )
    job_dir.write_result(result.model_dump(mode="json"))
    run.progress(1.0, "Done", eta_seconds=0)


def card_of(error: BaseException) -> ErrorCard:
    """Any exception as a card without paths."""
    if isinstance(error, SlipwayError):
        card = error.card()
        fields = error.params.get("fields", [])
        if fields and not card.evidence:
            card.evidence = "; ".join(f"{field['field']}: {field['message']}" for field in fields)
        return card
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
        return JobError("out_of_memory", evidence=_last_words(error)).card()
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JobError("disk_full", evidence=_last_words(error)).card()
    return JobError("job_crashed", evidence=_last_words(error)).card()


def _last_words(error: BaseException) -> str:
    """The exception's last line and where it was raised, as module and line."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}workers{os.sep}" in frame.filename] or list(frames)
    lines = [line for line in str(error).splitlines() if line.strip()]
    # A path in a message tells more about the machine than about the error.
    words = " ".join(Path(word).name if word.count("/") > 1 else word for word in (lines[-1] if lines else "").split())
    place = f" ({Path(ours[-1].filename).stem}:{ours[-1].lineno})" if ours else ""
    return f"{type(error).__name__}: {words[:400]}{place}"


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    os._exit(143)


def main(argv: list[str]) -> int:
    """Run the job of a folder; a failure becomes the `failed` event."""
    if len(argv) != 1:
        print("usage: python -m workers.engine JOBDIR", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _terminated)
    job_dir = JobDir(argv[0])
    if is_rank():
        die_with_parent()
    try:
        if not is_rank() and (devices := devices_of(job_dir, job_dir.spec())) > 1:
            return launch(job_dir, devices)
        run_job(job_dir)
    except Exception as error:  # the boundary of the process: every error becomes a card
        traceback.print_exc()
        if is_rank():
            leave_card(job_dir, card_of(error))
        else:
            job_dir.fail(card_of(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
