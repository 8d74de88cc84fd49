"""What the engine makes is what serving takes: every template's bundle, trained on its own toy data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import Stage
from tests.serving.running import new_id, until
from tests.stack import ROOT
from workers.contracts import names
from workers.contracts.job import DatasetRef, InputFile, JobSpec, TrainSpec
from workers.contracts.jobdir import JobDir
from workers.serving.bundles import open_bundle
from workers.task_templates import TEMPLATES


def trained(folder: Path, template: str) -> Path:
    """The bundle of a template, trained by the engine in a process of its own."""
    task, job = TEMPLATES[template], new_id("job")
    dataset = DatasetRef(
        dataset=new_id("dst"), version=new_id("dsv"), number=1, content_hash="0" * 64, kind=task.kind, name="toy"
    )
    spec = JobSpec(
        job=job,
        attempt=1,
        team=new_id("tem"),
        kind="train",
        inputs=[InputFile(name="data.parquet", key="toy")],
        output_prefix=names.attempt_prefix(job, 1),
        train=TrainSpec(
            template=template,
            preset="fast",
            parameters={"epochs": 2} if task.kind == "image" else {},
            dataset=dataset,
            model_name="toy",
        ),
    )
    job_dir = JobDir.create(folder / "job", spec)
    task.toy_data(job_dir.inputs / "data.parquet")
    environ = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "workers.engine", str(folder / "job")]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    return job_dir.output / "bundle.zip"


@pytest.mark.parametrize("template", list(TEMPLATES))
def test_a_trained_model_is_served_as_it_was_certified(tmp_path: Path, stage: Stage, template: str) -> None:
    bundle = trained(tmp_path, template)
    cases = open_bundle(bundle)
    stage.control.add_route(template, bundle, kind=TEMPLATES[template].kind, template=template)
    stage.control.publish()
    ready = f"/v2/models/{template}/ready"
    until(lambda: stage.client.get(ready, headers=stage.auth).status_code == 200, 60)
    described = stage.client.get(f"/v1/endpoints/{template}", headers=stage.auth).json()
    assert described["labels"] == cases.manifest.labels and described["input"] == cases.manifest.input_schema
    reply = stage.predict(described["example"]["request"]["inputs"], template)
    assert reply.json()["predictions"] == described["example"]["reply"]["predictions"]
    # Its int8 variant, where the template makes one, is taken too.
    for variant in cases.manifest.variants:
        if variant.deployable:
            open_bundle(bundle, variant.name)
