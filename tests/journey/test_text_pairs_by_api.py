"""Pairs of texts from the upload to the answer, by the public API: only both together tell the label."""

import csv
import random
from pathlib import Path

from tests.journey.client import Client, Predictor
from tests.stack import Stack

LETTERS = "bdfgklmnprst"


def word(draw: random.Random) -> str:
    return "".join(draw.choice(LETTERS) + draw.choice("aeiou") for _ in range(3))


def questions(path: Path) -> Path:
    """Whether the second text has the word that the first asks for; both kinds of rows hold the same words."""
    draw = random.Random(5)
    words = [word(draw) for _ in range(60)]
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["asked", "said", "label"])
        for number in range(500):
            asked, *others = draw.sample(words, 5)
            has = number % 2 == 0
            said = [asked, *others[1:]] if has else others
            draw.shuffle(said)
            writer.writerow([f"where is {asked}", " ".join(said), "answered" if has else "missed"])
    return path


def test_pairs_become_an_endpoint_that_reads_both(stack: Stack, tmp_path: Path) -> None:
    client = Client(stack.url, stack.predict_url, stack.token)
    team = str(client.get("/me")["teams"][0]["id"])
    project = str(client.post("/projects", 201, {"name": "Pairs"})["id"])
    mapping = {"text": "asked", "text_pair": "said", "label": "label"}
    dataset = client.upload(project, "Pairs", "text", questions(tmp_path / "pairs.csv"), mapping)
    assert client.imported(dataset)["mapping"] == mapping
    row = client.get(f"/datasets/{dataset}/rows", label="answered", split="test")["results"][0]
    assert row["text"].split()[-1] in row["text_pair"].split()

    job = client.trained(
        client.train(project, dataset, "text-classification", preset="fast", parameters={"epochs": 6, "int8": False})
    )
    model = client.get(f"/models/{job['model']}")
    assert model["certificate"]["passed"] and model["metrics"]["test"]["accuracy"] > 0.9

    endpoint = client.deploy(project, "Pairs", job["model"])
    key = client.key(team, "reader", endpoints=[endpoint["id"]])["key"]
    predictor = Predictor(client.predict_url, endpoint["slug"], key)
    asked = {"text": row["text"], "text_pair": row["text_pair"]}
    predictor.ready(json={"inputs": [asked]})
    # The same two texts with the word taken out of the second.
    without = " ".join(one for one in row["text_pair"].split() if one != row["text"].split()[-1])
    found = predictor.predict([asked, {**asked, "text_pair": without}])
    assert [one["label"] for one in found] == ["answered", "missed"]
    alone = predictor.send(json={"inputs": [asked, row["text"]]})
    assert alone.status_code == 422 and alone.json()["error"]["params"] == {"index": 1}
