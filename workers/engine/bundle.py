"""The bundle: everything that predicting needs, in one zip whose entries have a fixed order and date."""

import hashlib
import json
import time
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

from workers.contracts.errors import JobError
from workers.contracts.jobdir import file_ref
from workers.contracts.manifest import MANIFEST_VERSION, Certificate, Manifest, Provenance, Variant
from workers.contracts.report import read_report
from workers.engine.model_card import model_card
from workers.engine.run import Run, Trained
from workers.engine.variants import INT8
from workers.inference import runtime
from workers.inference.script import predict_script
from workers.task_templates.base import SEVERAL_LABELS, TaskTemplate

_DATE = (1980, 1, 1, 0, 0, 0)


def export_bundle(
    run: Run, template: TaskTemplate, trained: Trained, metrics: dict[str, Any], report: dict[str, Any], folder: Path
) -> Manifest:
    """Export into an empty folder, certify by loading it as a server would, and complete it.

    Raises JobError `parity_failed` where the served path answers differently: such a model leaves no bundle.
    """
    run.progress(0.93, "Exporting")
    preprocessing = trained.export(folder)
    core: dict[str, Any] = {
        "manifest_version": MANIFEST_VERSION,
        "name": run.train.model_name,
        "template": template.key,
        "kind": template.kind,
        "predictor": template.predictor,
        "input_schema": trained.input_schema() or template.input_schema,
        "output_schema": template.output_schema if trained.thresholds is None else SEVERAL_LABELS,
        "preprocessing": preprocessing,
        "labels": trained.labels,
        "thresholds": [] if trained.thresholds is None else trained.thresholds.tolist(),
    }
    # What the predictor reads is there already; certificate and provenance follow.
    _write_json(folder / "manifest.json", core)
    predictor = runtime.load(folder)

    run.progress(0.95, "Comparing the exported model with the trained one")
    certificate = trained.certify(predictor)
    _refuse_differences(certificate)
    run.log(
        f"Checked {certificate.compared} examples through the served path: no answer differs "
        f"(largest difference of a score: {certificate.max_abs_difference:.1g})."
    )

    variants = _variants(run, trained, folder)
    cases = trained.reference_cases()
    answers = predictor.predict(predictor.parse(cases)) if cases else []
    pairs = [{"input": case, "prediction": answer} for case, answer in zip(cases, answers, strict=True)]
    _write_json(folder / "reference.json", {"cases": pairs})
    (folder / "predict.py").write_text(predict_script(template.predictor), encoding="utf-8")
    provenance = _provenance(run)
    _write_json(folder / "report.json", report)
    card = model_card(
        template,
        core,
        metrics,
        read_report(report),
        certificate,
        provenance,
        run.train.dataset.name,
        trained.notes,
    )
    (folder / "README.md").write_text(card, encoding="utf-8", errors="replace")
    files = _files(folder)
    manifest = Manifest(
        **core, metrics=metrics, certificate=certificate, provenance=provenance, variants=variants, files=files
    )
    _write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return manifest


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    """Manifest.files: all but the manifest itself."""
    return {
        path.name: {"sha256": ref.sha256, "bytes": ref.bytes}
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
        for ref in [file_ref(path)]
    }


def zip_bundle(folder: Path, target: Path) -> None:
    """Pack a bundle's folder: same files, same zip."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(path.name, _DATE)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as stream:
                while chunk := source.read(1 << 20):
                    stream.write(chunk)


def _variants(run: Run, trained: Trained, folder: Path) -> list[Variant]:
    """The int8 variant, where it is wanted and can be made; a model without one is as good as before."""
    if not getattr(run.params, "int8", False):
        return []
    run.progress(0.97, "Making and measuring the int8 variant")
    try:
        variant = trained.int8_variant(folder)
    except Exception as error:
        (folder / INT8).unlink(missing_ok=True)
        run.log(f"There is no int8 variant: making it failed ({type(error).__name__}: {error}).", "warning")
        return []
    if variant is None:
        return []
    run.log(
        f"The int8 variant has {variant.bytes:,} bytes instead of {variant.bytes_fp32:,}, takes "
        f"{variant.latency.single:.2f} ms instead of {variant.latency_fp32.single:.2f}, and its accuracy is "
        f"{variant.accuracy:.4f} instead of {variant.accuracy_fp32:.4f}. {variant.reason}"
    )
    return [variant]


def _refuse_differences(certificate: Certificate) -> None:
    if certificate.passed:
        return
    cases = certificate.edge_cases.cases if certificate.edge_cases else {}
    wrong = [name for name, outcome in cases.items() if outcome == "differs"]
    raise JobError(
        "parity_failed",
        evidence=f"{certificate.label_flips} of {certificate.examples} {certificate.split} answers differ; "
        f"scores differ by up to {certificate.max_abs_difference:.3g} (allowed: {certificate.tolerance:g}); of the "
        f"edge cases {', '.join(wrong) or 'none'} differ.",
    )


def _provenance(run: Run) -> Provenance:
    import torch

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
        parameters={**run.params.model_dump(mode="json"), **run.chosen},
        seed=run.seed,
        code_version=code_version(),
        torch_version=torch.__version__,
        trained_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        device=run.device_label,
    )


@cache
def code_version() -> str:
    """Twelve hexadecimal digits that change with any source file of the workers."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _write_json(path: Path, value: Any) -> None:
    # ASCII: labels may hold anything, half surrogate pairs too.
    path.write_text(json.dumps(value, indent=1, allow_nan=False), encoding="ascii")
