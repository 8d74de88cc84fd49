"""The main job by the public API: a file goes in, a metered model answers. On real data, and the answers are
checked."""

import base64
import csv
import io
import json
import os
import subprocess
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journey.client import Client, Predictor, wait_for
from tests.journey.data import real
from tests.stack import Stack

BUNDLE_REQUIREMENTS = ("onnxruntime", "numpy", "tokenizers", "pillow")


@pytest.fixture(scope="module")
def client(stack: Stack) -> Client:
    return Client(stack.url, stack.predict_url, stack.token)


@pytest.fixture(scope="module")
def team(client: Client) -> str:
    return str(client.get("/me")["teams"][0]["id"])


@pytest.fixture(scope="module")
def project(client: Client) -> str:
    return str(client.post("/projects", 201, {"name": "Three tasks"})["id"])


def rows(path: Path, split: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["split"] == split]


def usage_matches(client: Client, endpoint: str, predictor: Predictor) -> None:
    """Every request that was answered is counted once, with its status; nothing else is."""
    answered: dict[int, int] = {}
    for _, status in predictor.answered:
        answered[status] = answered.get(status, 0) + 1

    def counted() -> bool:
        found = client.get("/usage", endpoint=endpoint, by="day", group="status")["results"]
        return {int(row["status"]): row["requests"] for row in found} == answered

    wait_for(counted, f"the usage to show {answered}", 20)
    text = client.control.get("/usage.csv", params={"endpoint": endpoint, "by": "minute", "group": "key"}).text
    table = list(csv.DictReader(io.StringIO(text)))
    assert sum(int(row["requests"]) for row in table) == len(predictor.answered)


@pytest.fixture(scope="module")
def bundle_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh environment that holds what a bundle's README names, and nothing of Slipway."""
    folder = tmp_path_factory.mktemp("bundle-env")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--no-compile", *BUNDLE_REQUIREMENTS]
    subprocess.run(install, check=True, timeout=300)
    yield python


def from_bundle(client: Client, model: str, python: Path, folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What the downloaded bundle predicts outside of Slipway."""
    reply = client.control.get(f"/models/{model}/bundle")
    assert reply.status_code == 200
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        archive.extractall(folder)
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    done = subprocess.run(
        [python, "-I", "predict.py", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    predictions: list[dict[str, Any]] = json.loads(done.stdout)["predictions"]
    return predictions


def same(one: Any, other: Any) -> bool:
    """Equal up to the last digits of floating point numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, abs=1e-4)
    return bool(one == other)


def certified(client: Client, model: str, examples: int) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/models/{model}")
    certificate = found["certificate"]
    assert certificate["passed"] and certificate["label_flips"] == 0
    assert certificate["examples"] == examples
    return found


def test_a_file_without_one_good_row_comes_back_whole(client: Client, project: str, tmp_path: Path) -> None:
    source = tmp_path / "bad.csv"
    source.write_text("text,label\n" + ",good\n" * 20 + "one,two,three\n")
    dataset = client.upload(project, "Bad", "text", source)
    wait_for(lambda: client.get(f"/datasets/{dataset}")["state"] != "processing", "the import to end")
    found = client.get(f"/datasets/{dataset}")
    assert (found["state"], found["rows"], found["rejected"], found["error"]["code"]) == ("failed", 0, 21, "no_rows")
    assert {issue["code"]: issue["count"] for issue in found["issues"]} == {"text_missing": 20, "row_malformed": 1}
    errors = list(csv.reader(io.StringIO(client.control.get(f"/datasets/{dataset}/errors.csv").text)))
    assert errors[1] == ["2", "text_missing", "The text is empty.", "", "good"]
    assert len(errors) == 22


def test_spam_texts_become_a_metered_endpoint(
    client: Client, team: str, project: str, bundle_python: Path, tmp_path: Path
) -> None:
    source = real("sms.csv")
    test_rows = rows(source, "test")
    dataset = client.upload(project, "Messages", "text", source)
    imported = client.imported(dataset)
    assert imported["rows"] + imported["rejected"] == 5574
    assert set(imported["classes"]) == {"ham", "spam"}
    assert imported["splits"]["test"] == len(test_rows)

    job = client.trained(client.train(project, dataset, "text-classification", preset="fast"))
    model = certified(client, job["model"], len(test_rows))
    assert model["metrics"]["test"]["accuracy"] >= 0.975

    endpoint = client.deploy(project, "Spam", job["model"])
    key = client.key(team, "shop", endpoints=[endpoint["id"]])
    predictor = Predictor(client.predict_url, endpoint["slug"], key["key"])
    predictor.ready(json={"inputs": ["Hello"]})
    texts = [row["text"] for row in test_rows[:300]]
    predictions = [p for start in range(0, 300, 50) for p in predictor.predict(texts[start : start + 50])]
    right = sum(p["label"] == row["label"] for p, row in zip(predictions, test_rows[:300], strict=True))
    assert right / 300 >= 0.96
    assert all(abs(sum(p["scores"].values()) - 1) < 1e-3 for p in predictions)

    refused = predictor.send(json={"inputs": ["fine", 7]})
    assert refused.status_code == 422
    assert refused.json()["error"]["params"]["index"] == 1
    usage_matches(client, endpoint["id"], predictor)

    offline = from_bundle(client, job["model"], bundle_python, tmp_path, texts[0])
    assert same(offline, predictions[:1])


def test_photos_become_a_metered_endpoint(
    client: Client, team: str, project: str, bundle_python: Path, tmp_path: Path
) -> None:
    source = real("cifar10-small.zip")
    dataset = client.upload(project, "Photos", "image", source)
    imported = client.imported(dataset)
    assert (imported["rows"], imported["rejected"], len(imported["classes"])) == (6000, 0, 10)
    assert imported["splits"]["test"] == 1000

    # As many epochs as the preset trains on a CPU without matrix units: those that have them train longer.
    parameters = {"epochs": 6}
    started = client.train(project, dataset, "image-classification", preset="fast", parameters=parameters)
    job = client.trained(started, 600)
    model = certified(client, job["model"], 1000)
    assert model["metrics"]["test"]["accuracy"] >= 0.60

    endpoint = client.deploy(project, "Photos", job["model"])
    key = client.key(team, "camera")
    predictor = Predictor(client.predict_url, endpoint["slug"], key["key"])
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if name.startswith("test/") and name.endswith(".jpg")][::10]
        photos = [archive.read(name) for name in names]
    as_file = predictor.ready(content=photos[0], headers={"Content-Type": "image/jpeg"}).json()["predictions"]
    as_text = [{"image": base64.b64encode(photo).decode()} for photo in photos]
    predictions = [p for start in range(0, 100, 25) for p in predictor.predict(as_text[start : start + 25])]
    assert same(as_file, predictions[:1])
    multipart = predictor.send(files=[("file", ("a.jpg", photos[1])), ("file", ("b.jpg", photos[2]))])
    assert same(multipart.json()["predictions"], predictions[1:3])
    right = sum(p["label"] == name.split("/")[1] for p, name in zip(predictions, names, strict=True))
    assert right / len(names) >= 0.5

    broken = predictor.send(content=photos[0][:400], headers={"Content-Type": "image/jpeg"})
    assert broken.status_code == 422
    usage_matches(client, endpoint["id"], predictor)

    (tmp_path / "photo.jpg").write_bytes(photos[0])
    offline = from_bundle(client, job["model"], bundle_python, tmp_path, "photo.jpg")
    assert same(offline, as_file)


def test_listens_become_a_metered_endpoint(
    client: Client, team: str, project: str, bundle_python: Path, tmp_path: Path
) -> None:
    source = real("lastfm.csv")
    mapping = {"user": "user", "item": "artist"}
    dataset = client.upload(project, "Listens", "recommendation", source, mapping)
    imported = client.imported(dataset)
    assert imported["rows"] + imported["rejected"] == 52668

    job = client.trained(client.train(project, dataset, "recommendation", preset="fast"))
    test = client.get(f"/models/{job['model']}")["metrics"]["test"]
    assert test["recall@20"] >= 0.25
    assert test["popularity"]["recall@20"] == pytest.approx(0.037, abs=0.004)
    certificate = client.get(f"/models/{job['model']}")["certificate"]
    assert certificate["passed"] and certificate["label_flips"] == 0

    endpoint = client.deploy(project, "Artists", job["model"])
    key = client.key(team, "player")
    predictor = Predictor(client.predict_url, endpoint["slug"], key["key"])
    predictor.ready(json={"inputs": [{"user": "1", "k": 1}]})

    heard: dict[str, set[str]] = {}
    held_out: dict[str, set[str]] = {}
    for split, known in (("train", heard), ("test", held_out)):
        for row in rows(source, split):
            known.setdefault(row["user"], set()).add(row["artist"])
    users = sorted(held_out)[:200]
    inputs = [{"user": user, "k": 20, "exclude_seen": True} for user in users]
    predictions = [p for start in range(0, 200, 50) for p in predictor.predict(inputs[start : start + 50])]
    recalls = []
    for user, prediction in zip(users, predictions, strict=True):
        items = [entry["item"] for entry in prediction["items"]]
        assert len(items) == len(set(items)) == 20
        assert not heard[user] & set(items)
        recalls.append(len(held_out[user] & set(items)) / len(held_out[user]))
    assert sum(recalls) / len(recalls) >= 0.2

    history = sorted(heard[users[0]])[:5]
    by_items, stranger = predictor.predict([{"items": history, "k": 5}, {"user": "nobody-knows-me", "k": 5}])
    assert len(by_items["items"]) == 5 and "fallback" not in by_items
    assert stranger["fallback"] == "popularity" and len(stranger["items"]) == 5
    usage_matches(client, endpoint["id"], predictor)

    known_user = predictor.predict([{"user": users[0], "k": 10}])
    offline = from_bundle(client, job["model"], bundle_python, tmp_path, "--user", users[0], "--k", "10")
    assert same(offline, known_user)
