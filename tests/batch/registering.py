"""python -m tests.batch.registering PROJECT BUNDLE: a bundle as a model version of a running Slipway; prints its id.

What a training leaves behind, without the training. Runs with the environment of the Slipway's own processes.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from slipway import embedded

ROOT = Path(__file__).resolve().parents[2]


def register(home: Path, project: str, bundle: Path) -> str:
    """Register the bundle in the Slipway that lives in `home`; the model's id."""
    addresses = embedded.addresses(home)
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
        "DJANGO_SETTINGS_MODULE": "slipway.settings",
        "DATABASE_URL": addresses.database_url,
        "REDIS_URL": addresses.redis_url,
        "SLIPWAY_EMBEDDED_DATABASE": "1",
        "SLIPWAY_HOME": str(home),
    }
    command = [sys.executable, "-m", "tests.batch.registering", project, str(bundle)]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def main(project_id: str, bundle: Path) -> None:
    """Make a dataset, a job and a model version."""
    import django

    django.setup()
    from apps.core.artifacts import storage
    from apps.datasets.models import Dataset
    from apps.projects.models import Project
    from apps.training.models import Job
    from tests.cast import make_job, make_model, make_version
    from tests.serving.bundles import sha256

    with zipfile.ZipFile(bundle) as packed:
        manifest = json.loads(packed.read("manifest.json"))
    project = Project.objects.get(pk=project_id)
    dataset = Dataset.objects.create(project=project, name="Toy", kind=manifest["kind"])
    job = make_job(make_version(dataset), name=f"Toy {manifest['kind']}", state=Job.State.SUCCEEDED)
    facts = {"bundle_sha256": sha256(bundle), "bundle_bytes": bundle.stat().st_size}
    model = make_model(job, manifest=manifest, template=manifest["template"], **facts)
    storage().put_file(bundle, model.bundle_key)
    print(model.pk)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
