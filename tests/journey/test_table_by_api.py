"""A table from the upload to the answer, by the public API, and what its pages show."""

import csv
import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.journey.client import Client, Predictor
from tests.stack import Stack

MISLABELLED = range(7, 600, 40)


def plants(path: Path) -> Path:
    """Rows whose class follows from a number, a category and a date; with an id, gaps and some wrong labels."""
    draw = random.Random(5)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["plant_id", "height", "colour", "found", "kind"])
        for number in range(600):
            height, colour = draw.uniform(1, 99), draw.choice(["red", "green", "brown"])
            found = date(2024, 1, 1) + timedelta(draw.randrange(366))
            kind = "moss" if found.month in (1, 2, 12) else "tree" if height > 50 else "flower"
            kind = "grass" if kind == "flower" and colour != "red" else kind
            if number in MISLABELLED:
                kind = "grass" if kind == "tree" else "tree"
            gap = kind == "moss" and draw.random() < 0.3
            writer.writerow(
                [7000 + 3 * number, "" if gap else f"{height:.1f}", colour, found.strftime("%d.%m.%Y"), kind]
            )
    return path


def test_a_table_becomes_an_endpoint_that_takes_its_rows(stack: Stack, tmp_path: Path) -> None:
    client = Client(stack.url, stack.predict_url, stack.token)
    team = str(client.get("/me")["teams"][0]["id"])
    project = str(client.post("/projects", 201, {"name": "Plants"})["id"])
    dataset = client.upload(project, "Plants", "tabular", plants(tmp_path / "plants.csv"), {"label": "kind"})
    imported = client.imported(dataset)
    types = {column["name"]: column["type"] for column in imported["schema"]}
    assert [types[name] for name in ("plant_id", "height", "colour", "found")] == [
        "ignored",
        "number",
        "category",
        "date",
    ]
    assert "column_ignored" in {issue["code"] for issue in imported["issues"]}
    row = client.get(f"/datasets/{dataset}/rows", label="tree", split="test")["results"][0]

    parameters = {"epochs": 60, "width": 64}
    job = client.trained(client.train(project, dataset, "tabular-classification", preset="fast", parameters=parameters))
    model = client.get(f"/models/{job['model']}")
    assert model["certificate"]["passed"] and model["metrics"]["test"]["accuracy"] >= 0.85
    assert model["report"]["compared"][0]["test"]["accuracy"] > 0.8

    suspected = model["report"]["suspected_labels"]
    asked = {"suspects": "1", "sort": "suspicion"}
    page = client.get(f"/datasets/{dataset}/rows", **asked)
    assert page["total"] == suspected["suspected"] and suspected["rows"] == 600
    found = {(int(row["values"]["plant_id"]) - 7000) // 3 for row in page["results"]}
    assert len(found & set(MISLABELLED)) > 0.6 * max(len(found), len(MISLABELLED))

    endpoint = client.deploy(project, "Plants", job["model"])
    key = client.key(team, "garden", endpoints=[endpoint["id"]])["key"]
    predictor = Predictor(client.predict_url, endpoint["slug"], key)
    predictor.ready(json={"inputs": [row["values"]]})
    stored, typed, partly = predictor.predict(
        [
            row["values"],
            {"height": 95.5, "colour": "green", "found": "04.07.2024"},
            {"height": "95.5", "colour": "blue"},
        ]
    )
    assert stored["label"] == typed["label"] == "tree" and set(partly["scores"]) == set(imported["classes"])
    refused = predictor.send(json={"inputs": [{"height": 3}, {"hight": 3}]})
    assert refused.status_code == 422 and refused.json()["error"]["params"]["index"] == 1


@pytest.mark.parametrize("head", [b"a,b,c,d\n1,2,3,x\n"])
def test_a_table_without_a_label_is_told_so(stack: Stack, tmp_path: Path, head: bytes) -> None:
    client = Client(stack.url, stack.predict_url, stack.token)
    project = str(client.post("/projects", 201, {"name": "No label"})["id"])
    (tmp_path / "t.csv").write_bytes(head)
    reply = client.control.post(
        "/datasets",
        data={"project": project, "name": "T", "kind": "tabular", "mapping": '{"text": "a"}'},
        files={"file": ("t.csv", head)},
    )
    assert reply.status_code == 422 and "label, split" in reply.text
