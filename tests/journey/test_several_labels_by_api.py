"""Texts with several labels from the upload to the answer, by the public API."""

import csv
import random
from pathlib import Path

from tests.journey.client import Client, Predictor
from tests.stack import Stack

WORDS = {
    "comedy": ["laugh", "joke", "clown", "prank", "silly", "grin"],
    "war": ["battle", "soldier", "tank", "trench", "general", "siege"],
    "music": ["song", "piano", "chorus", "melody", "drum", "violin"],
}


def films(path: Path) -> Path:
    """What a film is about follows from its words; genres stand in one cell, parted by bars."""
    draw = random.Random(3)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["plot", "genres"])
        for number in range(500):
            genres = draw.sample(sorted(WORDS), draw.choice([1, 1, 2, 2, 3]))
            words = [word for genre in genres for word in draw.sample(WORDS[genre], 2)]
            draw.shuffle(words)
            writer.writerow([f"film {number} with {' '.join(words)}", "|".join(genres)])
    return path


def test_films_of_several_genres_become_an_endpoint_that_answers_all_of_them(stack: Stack, tmp_path: Path) -> None:
    client = Client(stack.url, stack.predict_url, stack.token)
    team = str(client.get("/me")["teams"][0]["id"])
    project = str(client.post("/projects", 201, {"name": "Films"})["id"])
    mapping = {"text": "plot", "label": "genres", "label_separator": "|"}
    dataset = client.upload(project, "Films", "text", films(tmp_path / "films.csv"), mapping)
    imported = client.imported(dataset)
    assert set(imported["classes"]) == set(WORDS) and imported["profile"]["multi_label"]
    row = client.get(f"/datasets/{dataset}/rows", label="war", split="test")["results"][0]
    assert "war" in row["labels"]

    job = client.trained(
        client.train(project, dataset, "text-classification", preset="fast", parameters={"epochs": 6, "int8": True})
    )
    model = client.get(f"/models/{job['model']}")
    assert model["certificate"]["passed"] and model["metrics"]["test"]["micro_f1"] > 0.9
    assert model["metrics"]["test"]["micro_f1"] > model["report"]["baseline"]["test"]["micro_f1"]

    endpoint = client.deploy(project, "Films", job["model"])
    key = client.key(team, "cinema", endpoints=[endpoint["id"]])["key"]
    predictor = Predictor(client.predict_url, endpoint["slug"], key)
    predictor.ready(json={"inputs": [row["text"]]})
    both, one = predictor.predict(["a soldier sings a song at the piano in battle", "a silly clown tells a joke"])
    assert set(both["labels"]) == {"war", "music"} and one["labels"] == ["comedy"] == [one["label"]]
    assert set(one["scores"]) == set(WORDS)
