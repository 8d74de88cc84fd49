"""README.md of a bundle: the model card (Mitchell et al. 2019), in words for the people who will use the model."""

from collections.abc import Sequence
from typing import Any

from workers.contracts.manifest import Manifest

_SPECIAL = "\\`*_{}[]()#+-.!|<>~&"


def escaped(text: Any) -> str:
    """A user's text as literal Markdown, on one line."""
    line = " ".join(str(text).split())
    return "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in line)


def model_card(manifest: Manifest, notes: Sequence[str] = ()) -> str:
    """The card as Markdown. `notes` say how the metrics were measured."""
    source, certificate = manifest.provenance, manifest.certificate
    lines = [
        f"# {escaped(manifest.name)}",
        "",
        f"Task: {manifest.template} ({source.preset}). Trained {source.trained_at} on {escaped(source.device)}.",
        "",
        "## How to use it",
        "",
        _usage(manifest.kind),
        "",
        "`predict.py` needs Python 3.11, `numpy` and `onnxruntime`, and `tokenizers` for texts or `Pillow` for images.",
        "It is the file that answered when the model was tested, and that answers behind the hosted endpoint.",
        "`reference.json` holds a few inputs with the answers that they have to get.",
        "",
        "## How good it is",
        "",
        *_metric_table(manifest.metrics),
        "",
        *(f"- {escaped(note)}" for note in notes),
        *([""] if notes else []),
        f"Parity certificate: {certificate.examples} examples of the {certificate.split} split went through this very "
        f"bundle and through the trained network; {certificate.label_flips} answers differ, and no score by more than "
        f"{certificate.max_abs_difference:.2g} (allowed: {certificate.tolerance:.2g}).",
        "",
        "## Where it comes from",
        "",
        f"- Dataset {source.dataset}, version {source.dataset_number}, content hash `{source.dataset_hash}`",
        f"- Job {source.job}, attempt {source.attempt}, seed {source.seed}, code {source.code_version}, "
        f"torch {source.torch_version}",
        *(f"- `{name}`: {escaped(value)}" for name, value in source.parameters.items()),
        "",
        "## Limits",
        "",
        "The figures hold for inputs like those of the dataset. On other inputs the model still answers, and may be "
        "wrong with a high score. Train again when the data changes.",
    ]
    if manifest.labels:
        lines[4:4] = ["Labels: " + ", ".join(escaped(label) for label in manifest.labels), ""]
    return "\n".join(lines) + "\n"


def _usage(kind: str) -> str:
    commands = {
        "text": 'python predict.py "some text"',
        "image": "python predict.py photo.jpg",
        "recommendation": "python predict.py --user u1 --k 10",
    }
    return f"    {commands[kind]}"


def _metric_table(metrics: dict[str, Any]) -> list[str]:
    splits = [split for split in ("validation", "test") if metrics.get(split)]
    names = list(dict.fromkeys(n for s in splits for n, v in metrics[s].items() if isinstance(v, int | float)))
    columns = [(split, metrics[split]) for split in splits]
    columns += [(f"popularity, {s}", metrics[s]["popularity"]) for s in splits if "popularity" in metrics[s]]
    head = [f"| metric | {' | '.join(title for title, _ in columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    return [*head, *(f"| {name} | {' | '.join(_cell(part.get(name)) for _, part in columns)} |" for name in names)]


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else ""
