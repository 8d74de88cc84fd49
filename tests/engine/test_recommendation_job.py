"""A recommender's job as the runner starts it: a process, a folder, a bundle."""

import json
import subprocess
import sys
from pathlib import Path

from tests.engine.jobs import Job, is_checkpoint, kill_when, run
from tests.engine.recommending import Row, answer, names, start_run, toy, write_rows
from workers.inference import runtime
from workers.inference.ranked import RankedItems


def test_a_killed_job_goes_on_and_its_bundle_answers_alone(tmp_path: Path) -> None:
    # Enough iterations that the first checkpoint comes long before the end.
    start_run(tmp_path / "job", toy(tmp_path), algorithm="als", factors=2, iterations=150, trials=1)
    job = Job(tmp_path / "job")
    before = kill_when(job, is_checkpoint)
    run(job)
    told = [event for event in job.events[before:] if event["type"] == "progress" and "step" in event]
    # A fresh start tells step 0 first.
    assert told[0]["step"] >= 1
    certificate = job.result["certificate"]
    assert certificate["passed"] and certificate["examples"] == 80
    assert job.result["metrics"]["test"]["recall@10"] == 1.0

    card = (job.bundle / "README.md").read_text()
    assert "| popularity recall@10 |" in card and "learned from train and validation rows" in card
    predictor = runtime.load(job.bundle)
    assert isinstance(predictor, RankedItems)
    cases = json.loads((job.bundle / "reference.json").read_text())["cases"]
    assert answer(predictor, *(case["input"] for case in cases)) == [case["prediction"] for case in cases]
    command = [sys.executable, "-I", "predict.py", "--user", "u1", "--k", "5"]
    done = subprocess.run(command, cwd=job.bundle, capture_output=True, check=True, timeout=60)
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
    start_run(tmp_path / "job", data, factors=8, iterations=3, trials=1)
    job = run(Job(tmp_path / "job"))
    result = job.result
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

    predictor = runtime.load(job.bundle)
    assert isinstance(predictor, RankedItems)
    there, back = answer(predictor, {"items": ["i03", "i04", "i05"], "k": 1}, {"items": ["i05", "i04", "i03"], "k": 3})
    assert names(there) == ["i06"]
    assert names(back)[0] != "i06"
