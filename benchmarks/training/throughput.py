"""The training loop's speed against a bare PyTorch step on tensors that lie in memory: same network, batch and updates.

python benchmarks/training/throughput.py [--data FOLDER] [--only text,image] [--rounds 5] [--steps 500] [--preset fast]
    [--threads N]

The bare step is forward, loss, backward and PyTorch's own fused optimizer, in the loop's precision and memory format,
on batches that were made before: no clipping, no class weights, no look at the loss. The loop is all that a job does
from its first step to its last: batches, augmentation, class weights, clipping, averaging, metrics, events,
checkpoints, the closing one too; only judging on the validation rows is left out. Rounds alternate. Two ratios, both of
the rounds' medians: of examples per second, and of seconds of the CPU, which other work on the machine disturbs less.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "training")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from data import images_from_zip, texts_from_csv  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from workers.contracts.job import DatasetRef, JobSpec, TrainSpec  # noqa: E402
from workers.contracts.jobdir import JobDir  # noqa: E402
from workers.engine import image, loop, text, threads  # noqa: E402
from workers.engine.examples import Examples, Feed  # noqa: E402
from workers.engine.run import Run  # noqa: E402
from workers.engine.settings import Settings  # noqa: E402
from workers.task_templates import TEMPLATES  # noqa: E402

CASES: dict[str, tuple[str, Any, Callable[[Path, Path], None]]] = {
    "text": (
        "text-classification",
        text,
        lambda data, target: texts_from_csv(data / "trec.csv", "question", "type", target),
    ),
    "image": (
        "image-classification",
        image,
        lambda data, target: images_from_zip(data / "cifar10-small.zip", target),
    ),
}


class _Captured(Exception):
    """What a template was about to train."""

    def __init__(self, model: nn.Module, train: Examples, settings: Settings) -> None:
        self.model, self.train, self.settings = model, train, settings


def capture(run: Run, module: Any) -> _Captured:
    """The network, examples and settings with which a template would call the loop."""

    def stop(_run: Run, model: nn.Module, train: Examples, _validation: Examples, settings: Settings, *_: Any) -> None:
        raise _Captured(model, train, settings)

    kept, module.fit = module.fit, stop
    try:
        TEMPLATES[run.train.template].train(run)
    except _Captured as found:
        return found
    finally:
        module.fit = kept
    raise SystemExit("the template did not call the loop")


class Some(Examples):
    """So many of the examples, taken evenly: files are often sorted by class."""

    def __init__(self, whole: Examples, rows: int) -> None:
        self._whole = whole
        self._rows = np.linspace(0, len(whole) - 1, rows).astype(np.int64)
        self.labels = whole.labels[self._rows]
        self.mixes = whole.mixes

    def batch(self, rows: Any) -> torch.Tensor:
        """The rows' own input."""
        return self._whole.batch(self._rows[rows])

    def augment(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """As in training."""
        return self._whole.augment(inputs, generator)

    def mix(self, inputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> Any:
        """As in training."""
        return self._whole.mix(inputs, targets, generator)

    def batches(self, rows: Any, size: int, order: Any) -> Any:
        """As in training."""
        return [np.searchsorted(self._rows, part) for part in self._whole.batches(self._rows[rows], size, order)]


class Nothing(Examples):
    """No validation: judging is not what is compared."""

    def __init__(self, whole: Examples) -> None:
        self.labels = whole.labels[:0]
        self._whole = whole

    def batch(self, rows: Any) -> torch.Tensor:
        """Nothing asks."""
        return self._whole.batch(rows)


class Speed(NamedTuple):
    """Examples per second, by the clock on the wall and by the CPU's own seconds."""

    wall: float
    cpu: float

    @classmethod
    def since(cls, wall: float, cpu: float, examples: int) -> "Speed":
        """Of so many examples since two readings of the clocks."""
        return cls(examples / (time.perf_counter() - wall), examples / (time.process_time() - cpu))


def bare(
    model: nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]], settings: Settings, device: torch.device
) -> Speed:
    """The plainest step: forward, loss, backward, update."""
    kind: Any = torch.optim.SGD if settings.optimizer == "sgd" else torch.optim.AdamW
    more = {"momentum": 0.9, "nesterov": True} if settings.optimizer == "sgd" else {}
    rate, decay = settings.learning_rate / 100, settings.weight_decay
    optimizer = kind(model.parameters(), lr=rate, weight_decay=decay, fused=True, **more)
    dtype = settings.dtype(device)
    model.train()
    seen, clocks = 0, (time.perf_counter(), time.process_time())
    for inputs, labels in batches:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            scores = model(inputs)
        if scores.ndim == 3:
            labels = labels.unsqueeze(-1).expand(*labels.shape, scores.shape[2])
        functional.cross_entropy(scores.float(), labels, label_smoothing=settings.label_smoothing).backward()
        optimizer.step()
        seen += len(inputs)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return Speed.since(*clocks, seen)


def whole(run: Run, model: nn.Module, examples: Examples, settings: Settings, steps: int) -> Speed:
    """The loop, from the first step to the last, its closing checkpoint included."""
    some = Some(examples, min(len(examples), steps * settings.batch_size))
    clocks = time.perf_counter(), time.process_time()
    loop.fit(run, model, some, Nothing(examples), settings)
    return Speed.since(*clocks, len(some) * settings.epochs)


def measure(name: str, data: Path, preset: str, steps: int, rounds: int) -> None:
    """Print one line of the table."""
    key, module, convert = CASES[name]
    template = TEMPLATES[key]
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        dataset = DatasetRef(dataset="b", version="1", number=1, content_hash="-", kind=template.kind, name=name)
        train = TrainSpec.model_validate(
            {"template": key, "preset": preset, "dataset": dataset, "model_name": name, "seed": 0}
        )
        spec = JobSpec(job="b", attempt=1, team="b", kind="train", inputs=[], output_prefix="-", train=train)
        job_dir = JobDir.create(Path(folder), spec)
        convert(data, job_dir.inputs / "data.parquet")
        params = template.resolve(preset, {})  # type: ignore[arg-type]
        found = capture(Run(job_dir, spec, params), module)
        device = Run(job_dir, spec, params).device
        rows = min(len(found.train), steps * found.settings.batch_size)
        epochs = max(1, round(steps * found.settings.batch_size / rows))
        settings = found.settings.model_copy(
            update={"epochs": epochs, "learning_rate": found.settings.learning_rate / 100}
        )
        feed = Feed(Some(found.train, rows), settings, 0)
        parts = [feed.batch(step, settings.batch_size).parts[0] for step in range(feed.steps)]
        feed.close()
        batches = [(part.inputs.to(device), part.targets.to(device)) for part in parts]
        found.model.to(device)
        found.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        bare(found.model, batches[:10], settings, device)
        speeds: dict[str, list[Speed]] = {"bare": [], "loop": []}
        for _ in range(rounds):
            speeds["bare"].append(bare(found.model, batches, settings, device))
            run = Run(job_dir, spec, params)
            run.checkpoints.discard()
            speeds["loop"].append(whole(run, found.model, found.train, settings, steps))
        medians = {
            kind: Speed(*(statistics.median(values) for values in zip(*rounds_of, strict=True)))
            for kind, rounds_of in speeds.items()
        }
        plain, ours = medians["bare"], medians["loop"]
        print(
            f"| {name} | {preset} | {settings.batch_size} | {feed.steps} | {plain.wall:,.0f} | {ours.wall:,.0f} "
            f"| {ours.wall / plain.wall:.3f} | {ours.cpu / plain.cpu:.3f} | {run.device_label} |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # Both with as many threads, however busy the machine is.
    threads.choose = torch.get_num_threads
    print("| data | preset | batch | steps | bare, examples/s | loop, examples/s | ratio | ratio of CPU | device |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for name in arguments.only.split(","):
        measure(name, arguments.data, arguments.preset, arguments.steps, arguments.rounds)


if __name__ == "__main__":
    main()
