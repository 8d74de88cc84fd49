"""From a trained model to a bundle: exported, certified through the served path, described, zipped."""

import json
import shutil
import subprocess
import zipfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from workers.contracts.errors import JobError
from workers.contracts.jobdir import file_ref
from workers.contracts.manifest import Certificate, Manifest, Provenance
from workers.engine.card import model_card
from workers.engine.run import Run, Trained
from workers.inference import runtime
from workers.task_templates.base import TaskTemplate

BUNDLE = "bundle.zip"
# The same content gives the same zip: entries carry no time of day.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(run: Run, template: TaskTemplate, trained: Trained, metrics: dict[str, Any]) -> Manifest:
    """Write output/bundle.zip; its manifest. Raises JobError `parity_failed`.

    The predictor that certifies is loaded from the very files that are zipped.
    """
    folder = run.job_dir.root / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    draft = Manifest(
        name=run.train.model_name,
        template=template.key,
        kind=template.kind,
        predictor=template.predictor,
        input_schema=template.input_schema,
        output_schema=template.output_schema,
        preprocessing=trained.export(folder),
        labels=trained.labels,
        metrics=metrics,
        certificate=Certificate(examples=0, label_flips=0, max_abs_difference=0, tolerance=0, passed=False),
        provenance=provenance(run),
        files={},
    )
    _write_json(folder / "manifest.json", draft.model_dump(mode="json"))
    run.progress(0.95, "Comparing the exported model with the trained one")
    predictor = runtime.load(folder)
    certificate = trained.certify(predictor)
    if not certificate.passed:
        raise JobError(
            "parity_failed",
            evidence=f"{certificate.label_flips} of {certificate.examples} answers differ; the largest difference of a "
            f"score is {certificate.max_abs_difference:.3g}, {certificate.tolerance:.3g} are allowed.",
        )
    _write_json(folder / "reference.json", _reference(predictor, trained))
    shutil.copyfile(runtime.__file__, folder / "predict.py")
    whole = draft.model_copy(update={"certificate": certificate})
    (folder / "README.md").write_text(model_card(whole, trained.notes), encoding="utf-8")
    names = sorted(path.name for path in folder.iterdir() if path.name != "manifest.json")
    files = {name: file_ref(folder / name).model_dump(exclude={"name"}) for name in names}
    whole = whole.model_copy(update={"files": files})
    _write_json(folder / "manifest.json", whole.model_dump(mode="json"))
    _zip(folder, ["manifest.json", *names], run.job_dir.output / BUNDLE)
    return whole


def provenance(run: Run) -> Provenance:
    """Where the model comes from."""
    dataset = run.train.dataset
    return Provenance(
        job=run.spec.job,
        attempt=run.spec.attempt,
        dataset=dataset.dataset,
        dataset_version=dataset.version,
        dataset_number=dataset.number,
        dataset_hash=dataset.content_hash,
        template=run.train.template,
        preset=run.train.preset,
        parameters=run.params.model_dump(mode="json"),
        seed=run.seed,
        code_version=code_version(),
        torch_version=metadata.version("torch"),
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        device=run.device_label,
    )


def code_version() -> str:
    """The commit that trained, where the code lies in a checkout; else the package's version."""
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "0.1.0"
    return done.stdout.strip()[:12]


def _reference(predictor: runtime.Predictor, trained: Trained) -> dict[str, Any]:
    """A few inputs with their answers: whoever loads the bundle can see whether it answers as it did here."""
    cases = trained.reference_cases()
    predictions = predictor.predict(predictor.parse(cases))
    pairs = zip(cases, predictions, strict=True)
    return {"cases": [{"input": case, "prediction": answer} for case, answer in pairs]}


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1), encoding="utf-8")


def _zip(folder: Path, names: list[str], target: Path) -> None:
    with zipfile.ZipFile(target, "w") as bundle:
        for name in names:
            path = folder / name
            if path.is_symlink() or not path.is_file():
                raise ValueError(f"{name} is not a plain file")
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with bundle.open(entry, "w", force_zip64=True) as stream, open(path, "rb") as source:
                shutil.copyfileobj(source, stream, 2**20)
