"""A recommender's job as the runner starts it: a process, a folder, a bundle."""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from tests.engine.recommending import Row, answer, names, start_run, toy, write_rows
from workers.inference import runtime
from workers.inference.ranked import RankedItems

ROOT = Path(__file__).resolve().parents[2]


def engine(folder: Path) -> "subprocess.Popen[bytes]":
    """The engine's process on a job's folder, with an environment as bare as the runner's."""
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "workers.engine", str(folder)], cwd=ROOT, env=environment)


def events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "events.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def test_a_killed_job_goes_on_and_its_bundle_answers_alone(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    # Enough iterations that the first checkpoint comes long before the end.
    start_run(folder, toy(tmp_path), algorithm="als", factors=2, iterations=150, trials=1)
    first = engine(folder)
    try:
        deadline = time.monotonic() + 120
        while not any(event["type"] == "checkpoint" for event in events(folder)):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        first.kill()
        first.wait()
    assert not (folder / "result.json").exists()
    before = len(events(folder))

    assert engine(folder).wait(timeout=180) == 0
    told = [event for event in events(folder)[before:] if event["type"] == "progress" and "step" in event]
    # A fresh start tells step 0 first.
    assert told[0]["step"] >= 1
    result = json.loads((folder / "result.json").read_bytes())
    assert result["certificate"]["passed"] and result["certificate"]["examples"] == 80
    assert result["metrics"]["test"]["recall@10"] == 1.0

    with zipfile.ZipFile(folder / "output" / "bundle.zip") as archive:
        archive.extractall(tmp_path / "bundle")
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "| popularity recall@10 |" in card and "learned from train and validation rows" in card
    predictor = runtime.load(tmp_path / "bundle")
    assert isinstance(predictor, RankedItems)
    cases = json.loads((tmp_path / "bundle" / "reference.json").read_text())["cases"]
    assert answer(predictor, *(case["input"] for case in cases)) == [case["prediction"] for case in cases]
    command = [sys.executable, "-I", "predict.py", "--user", "u1", "--k", "5"]
    done = subprocess.run(command, cwd=tmp_path / "bundle", capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout)["predictions"] == answer(predictor, {"user": "u1", "k": 5})


def test_a_job_with_times_learns_what_follows_what_and_says_what_it_blended(tmp_path: Path) -> None:
    """Everybody walks round the same circle from another start: only the order tells where they go next."""
    circle = 30
    rows: list[Row] = []
    times: list[int] = []
    for user in range(90):
        for step in range(10):
            split = "train" if step < 8 else "validation" if step == 8 else "test"
            rows.append((f"u{user}", f"i{(user + step) % circle:02}", split))
            times.append(1_600_000_000 + step)
    data = write_rows(tmp_path / "data.parquet", rows, times=times)
    folder = tmp_path / "job"
    start_run(folder, data, factors=8, iterations=3, trials=1)
    assert engine(folder).wait(timeout=180) == 0
    result = json.loads((folder / "result.json").read_bytes())
    assert result["certificate"]["passed"]
    algorithm = result["report"]["algorithm"]
    assert all(part["factor"] > 0 for part in algorithm["parts"])
    # The latest items count most, in the algorithm of sequences or in another.
    assert any(part["algorithm"] == "sequence" or part["variant"]["decay"] < 1 for part in algorithm["parts"])
    assert "times" in algorithm["reason"]
    assert result["manifest"]["provenance"]["parameters"]["why_algorithm"] == algorithm["reason"]
    test = result["metrics"]["test"]
    assert test["recall@5"] == 1.0
    assert test["mrr@5"] > test["item-knn"]["mrr@5"]
    split = result["report"]["splits"]["test"]
    assert set(split["baselines"]) == set(split["gains"]) == {"popularity", "item-knn"}
    assert split["gains"]["item-knn"]["ndcg@20"]["low"] > 0
    assert [group["name"] for group in split["by_history"]] == ["5–9 items"]
    assert [group["least"] for group in split["new_users"]] == [1, 3, 5]
    # The last item alone tells where to go.
    assert split["new_users"][0]["metrics"]["recall@20"] == 1.0

    with zipfile.ZipFile(folder / "output" / "bundle.zip") as archive:
        archive.extractall(tmp_path / "bundle")
    predictor = runtime.load(tmp_path / "bundle")
    assert isinstance(predictor, RankedItems)
    there, back = answer(predictor, {"items": ["i03", "i04", "i05"], "k": 1}, {"items": ["i05", "i04", "i03"], "k": 3})
    assert names(there) == ["i06"]
    assert names(back)[0] != "i06"
