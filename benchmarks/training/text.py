"""Text classification beside what a user would take instead: presets and peers, several seeds, in one run.

python benchmarks/training/text.py [--data FOLDER] [--presets fast,balanced] [--seeds 3] [--json F] [PATH:TEXT:LABEL …]

sms.csv and trec.csv of the data folder, and any further CSV file named by its path and its columns of texts and labels;
a column `split` (train, test) is kept, without one a fifth of the contents, by hash, is the test split. Slipway's
seconds are those of whole jobs, from the start of the engine to the certified model, the peers' those of training and
answering. Peers learn from all training rows, Slipway from nine tenths of them: the rest is its validation split. The
peers are installed in an environment of their own; those that are not random run once.
"""

import argparse
import csv
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "training")]

from data import texts_from_csv  # noqa: E402
from run import run_job  # noqa: E402

REQUIREMENTS = ("scikit-learn==1.7.2", "scipy==1.16.2", "numpy==1.26.4", "fasttext-wheel==0.9.2")
PEERS = {
    "words": "TF-IDF words + LR",
    "characters": "TF-IDF words + characters + LR",
    "fasttext": "fastText",
}
# Which peers a preset is held against, and by how much it is to be above the best of them on the mean; seconds.
GOALS = {"fast": (("fasttext",), 0.0, 30), "balanced": (tuple(PEERS), 0.0, 180), "best": (tuple(PEERS), 0.005, 600)}


class Source(NamedTuple):
    """A CSV file, and its columns of texts and labels."""

    path: Path
    text: str
    label: str


def prepare(source: Source, target: Path) -> None:
    """A CSV file with the columns text, label, split (train, test); rows without text or label are left out."""
    csv.field_size_limit(sys.maxsize)
    with (
        source.path.open(encoding="utf-8", newline="") as stream,
        target.open("w", encoding="utf-8", newline="") as out,
    ):
        writer = csv.DictWriter(out, ["text", "label", "split"])
        writer.writeheader()
        for row in csv.DictReader(stream):
            text, label = row[source.text].strip(), row[source.label].strip()
            # Other bits than those that choose the validation rows.
            is_test = int(hashlib.sha256(text.encode()).hexdigest()[8:16], 16) % 5 == 0
            if text and label:
                split = row.get("split") or ("test" if is_test else "train")
                writer.writerow({"text": text, "label": label, "split": split})


def runs(file: Path, presets: list[str], python: Path | None, seeds: int, folder: Path) -> Iterator[dict[str, Any]]:
    """One result after another: model, seed, accuracy, wall, cpu (seconds), and of Slipway flips and bundle_mb."""
    data = folder / "data.parquet"
    texts_from_csv(file, "text", "label", data)
    for seed in range(seeds):
        for peer in PEERS if python else ():
            if seed == 0 or peer == "fasttext":
                command = [str(python), str(Path(__file__).with_name("text_peer.py")), str(file), peer, str(seed)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                yield {"model": peer, "seed": seed, **json.loads(done.stdout)}
        for preset in presets:
            job = folder / f"{preset}-{seed}"
            yield {"model": preset, "seed": seed, **run_job("text-classification", data, preset, seed, {}, job)}


def install_peers(folder: Path) -> Path:
    """The Python of an environment that holds the peers."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *REQUIREMENTS], check=True, stdout=sys.stderr)
    return python


def table(found: dict[str, dict[str, list[dict[str, Any]]]]) -> Iterator[str]:
    """Lines of Markdown: mean accuracy by data set and model, means, and how presets stand to their goals."""
    models = list(dict.fromkeys(model for results in found.values() for model in results))

    def mean(name: str, model: str, key: str = "accuracy") -> float:
        return statistics.fmean(result[key] for result in found[name][model])

    yield f"| data | {' | '.join(PEERS.get(model, f'Slipway {model}') for model in models)} |"
    yield f"| --- |{' ---: |' * len(models)}"
    for name in found:
        cells = (f"{mean(name, model):.4f} ({mean(name, model, 'wall'):.0f} s)" for model in models)
        yield f"| {name} | {' | '.join(cells)} |"
    means = {model: statistics.fmean(mean(name, model) for name in found) for model in models}
    yield f"| mean | {' | '.join(f'{means[model]:.4f}' for model in models)} |"
    for preset in (model for model in models if model in GOALS):
        peers, above, seconds = GOALS[preset]
        peers = tuple(peer for peer in peers if peer in models)
        slowest = max(mean(name, preset, "wall") for name in found)
        flips = sum(result["flips"] for name in found for result in found[name][preset])
        yield f"\nSlipway {preset}: slowest {slowest:.0f} s (goal {seconds} s), {flips} label flips."
        if not peers:
            continue
        best = {name: max(mean(name, peer) for peer in peers) for name in found}
        gap, worst = min((mean(name, preset) - best[name], name) for name in found)
        yield (
            f"Mean {means[preset]:.4f}; best peer's mean {max(means[peer] for peer in peers):.4f}, mean of each set's "
            f"best {statistics.fmean(best.values()):.4f} (goal {above * 100:+.1f} points); "
            f"worst gap {gap * 100:+.2f} points on {worst} (goal -0.5)."
        )


def main() -> None:
    """Print a line of JSON per run as it ends, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", metavar="PATH:TEXT:LABEL")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--presets", default=",".join(GOALS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also append the lines of JSON to this file")
    parser.add_argument("--no-peers", action="store_true")
    arguments = parser.parse_args()
    sources = [
        Source(arguments.data / "sms.csv", "text", "label"),
        Source(arguments.data / "trec.csv", "question", "type"),
    ]
    sources = [source for source in sources if source.path.exists()]
    sources += [Source(Path(path), *columns) for path, *columns in (s.rsplit(":", 2) for s in arguments.sources)]
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as temporary:
        python = None if arguments.no_peers else install_peers(Path(temporary) / "peers")
        for number, source in enumerate(sources):
            folder = Path(temporary) / str(number)
            folder.mkdir()
            prepare(source, folder / "texts.csv")
            for result in runs(folder / "texts.csv", arguments.presets.split(","), python, arguments.seeds, folder):
                found.setdefault(source.path.stem, {}).setdefault(result["model"], []).append(result)
                line = json.dumps({"data": source.path.stem, **result})
                print(line, flush=True)
                if arguments.json:
                    with arguments.json.open("a") as file:
                        file.write(line + "\n")
    print("\n" + "\n".join(table(found)))


if __name__ == "__main__":
    main()
