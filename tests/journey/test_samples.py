"""The samples of the documents, run as they are printed: only addresses and ids are filled in."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.journey.client import Client, Predictor
from tests.stack import ROOT, Stack


def samples(page: str, language: str, containing: str) -> str:
    """The one block of a page that contains something."""
    text = (ROOT / page).read_text("utf-8")
    (found,) = [block for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if containing in block]
    return str(found)


def test_the_readme_leads_from_texts_to_a_prediction_that_can_be_explained(stack: Stack, tmp_path: Path) -> None:
    script = samples("README.md", "sh", "curl")
    filled = (
        ("http://127.0.0.1:8000", stack.url),
        ("http://127.0.0.1:8001", stack.predict_url),
        ("var/demo.json", str(stack.home / "demo.json")),
    )
    for printed, actual in filled:
        assert printed in script
        script = script.replace(printed, actual)
    script += '\necho; echo "$SLUG $KEY $MODEL"'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer, names = done.stdout.strip().splitlines()[-2:]
    assert json.loads(answer)["predictions"][0]["label"] == "good"

    slug, key, model = names.split()
    predictor = Predictor(stack.predict_url, slug, key)
    asked = predictor.send(json=json.loads(samples("docs/predictions.md", "json", '"explain"')))
    assert asked.json()["predictions"][0]["explanation"]["method"] == "occlusion"

    client = Client(stack.url, stack.predict_url, stack.token)
    endpoint = next(one for one in client.get("/endpoints")["results"] if one["slug"] == slug)
    body: dict[str, Any] = json.loads(samples("docs/predictions.md", "json", '"shadow"'))
    reply = client.control.post(f"/endpoints/{endpoint['id']}/deploy", json=body | {"model": model})
    # Understood whole; but there is one model alone, with which nothing can be compared.
    assert [one["field"] for one in reply.json()["error"]["params"]["fields"]] == ["rule"]
