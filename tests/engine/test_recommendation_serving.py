"""What a recommender's bundle answers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.recommending import answer, bundle, names, toy, train, write_rows
from workers.inference import runtime
from workers.inference.core import InputError
from workers.inference.ranked import RankedItems
from workers.inference.script import predict_script


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a recommender of the toy data."""
    base = tmp_path_factory.mktemp("ranked")
    bundle(train(base / "job", toy(base)), base / "bundle")
    return base / "bundle"


@pytest.fixture(scope="module")
def predictor(folder: Path) -> RankedItems:
    loaded = runtime.load(folder)
    assert isinstance(loaded, RankedItems)
    return loaded


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, set[str]]:
    """What each user met before the test rows."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder.parent / "toy.parquet").to_pylist()
    met: dict[str, set[str]] = {}
    for row in table:
        if row["split"] != "test":
            met.setdefault(row["user"], set()).add(row["item"])
    return met


def test_users_get_what_is_left_of_their_taste_first(predictor: RankedItems, seen: dict[str, set[str]]) -> None:
    for user, met in seen.items():
        (prediction,) = answer(predictor, {"user": user, "k": 5})
        taste = "jazz" if int(user[1:]) % 2 else "metal"
        assert set(names(prediction)) == {f"{taste}-{number}" for number in range(1, 13)} - met
        assert "fallback" not in prediction
        scores = [entry["score"] for entry in prediction["items"]]
        assert scores == sorted(scores, reverse=True)


def test_seen_items_come_back_only_when_asked_for(predictor: RankedItems, seen: dict[str, set[str]]) -> None:
    without, by_default, everything = answer(
        predictor,
        {"user": "u1", "k": 24, "exclude_seen": True},
        {"user": "u1", "k": 24},
        {"user": "u1", "k": 24, "exclude_seen": False},
    )
    assert without == by_default
    assert set(names(without)) == set(names(everything)) - seen["u1"]
    assert len(names(everything)) == len(set(names(everything))) == 24


def test_items_are_a_taste_too(predictor: RankedItems) -> None:
    one, several, kept = answer(
        predictor,
        {"items": ["metal-1"], "k": 5},
        {"items": ["metal-1", "no such item", "metal-2", "metal-2"], "k": 10},
        {"items": ["metal-1", "metal-2"], "k": 24, "exclude_seen": False},
    )
    assert all(name.startswith("metal-") for name in names(one) + names(several))
    assert {"metal-1", "metal-2"}.isdisjoint(names(several))
    assert {"metal-1", "metal-2"} < set(names(kept))
    assert not any("fallback" in prediction for prediction in (one, several, kept))


def test_a_users_own_history_as_items_gives_the_same(predictor: RankedItems, seen: dict[str, set[str]]) -> None:
    by_name, by_items = answer(predictor, {"user": "u2"}, {"items": sorted(seen["u2"])})
    assert names(by_name) == names(by_items)


@pytest.mark.parametrize("raw", [{"user": "nobody", "k": 4}, {"items": ["no such item"], "k": 4}])
def test_without_a_known_taste_the_popular_items_come(
    raw: dict[str, Any], predictor: RankedItems, seen: dict[str, set[str]]
) -> None:
    (prediction,) = answer(predictor, raw)
    counts = {item: sum(item in met for met in seen.values()) for met in seen.values() for item in met}
    expected = sorted(counts, key=lambda item: (-counts[item], item))[:4]
    assert prediction["fallback"] == "popularity"
    assert names(prediction) == expected
    assert prediction["items"][0]["score"] == pytest.approx(counts[expected[0]] / len(seen), abs=1e-6)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (7, "user"),
        ({}, "either user or items"),
        ({"user": "u1", "items": ["jazz-1"]}, "either user or items"),
        ({"user": None}, "string"),
        ({"user": True}, "string"),
        ({"items": []}, "at least one"),
        ({"items": "jazz-1"}, "list"),
        ({"items": [1.5]}, "string"),
        ({"items": ["x"] * 1001}, "1000"),
        ({"user": "u1", "k": 0}, "1 to 1000"),
        ({"user": "u1", "k": 1001}, "1 to 1000"),
        ({"user": "u1", "k": True}, "1 to 1000"),
        ({"user": "u1", "k": "3"}, "1 to 1000"),
        ({"user": "u1", "exclude_seen": 1}, "true or false"),
        ({"user": "u1", "count": 3}, "count"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(raw: Any, said: str, predictor: RankedItems) -> None:
    with pytest.raises(InputError) as caught:
        predictor.parse({"inputs": [{"user": "u1"}, raw]})
    assert caught.value.index == 1
    assert said in caught.value.message


def test_a_bare_string_is_a_user_and_a_number_is_its_digits(tmp_path: Path) -> None:
    rows = [(user, item, split) for user in ("7", "8", "9") for item, split in (("1", "train"), ("2", "train"))]
    data = write_rows(tmp_path / "data.parquet", [*rows, ("7", "3", "train"), ("8", "3", "test")])
    found = bundle(train(tmp_path / "job", data), tmp_path / "bundle")
    bare, number, items = answer(found, "8", {"user": 8}, {"items": [1, 2]})
    assert bare == number
    assert names(bare) == names(items) == ["3"]


def test_an_answer_does_not_depend_on_its_company(
    predictor: RankedItems, seen: dict[str, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs: list[Any] = [{"user": user, "k": 3 + place % 7} for place, user in enumerate(seen)]
    inputs += [{"items": ["jazz-1"]}, {"user": "nobody"}, {"items": [f"jazz-{n}" for n in range(1, 13)], "k": 1}]
    alone = [answer(predictor, raw)[0] for raw in inputs]
    assert answer(predictor, *inputs) == alone
    # A width of two million makes every run of the model hold one history.
    monkeypatch.setattr(predictor, "_width", 2**21)
    assert answer(predictor, *inputs) == alone


def test_nothing_asked_is_nothing_answered(predictor: RankedItems) -> None:
    assert predictor.predict([]) == []


def test_histories_of_another_catalogue_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bundle")
    (tmp_path / "bundle" / "items.json").write_text(json.dumps(["only-one"]))
    with pytest.raises(ValueError, match=r"histories\.npz"):
        runtime.load(tmp_path / "bundle")


def test_histories_hold_plain_arrays(folder: Path) -> None:
    with np.load(folder / "histories.npz", allow_pickle=False) as arrays:
        assert {name: arrays[name].dtype.kind for name in arrays} == {"starts": "i", "items": "i", "popularity": "f"}


def test_the_bundles_own_program_answers_the_same(folder: Path, predictor: RankedItems, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bundle")
    program = tmp_path / "bundle" / "predict.py"
    program.write_text(predict_script("ranked-items"))

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-I", str(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["predictions"]

    assert run("--user", "u1", "--user", "nobody", "--k", "3") == answer(
        predictor, {"user": "u1", "k": 3}, {"user": "nobody", "k": 3}
    )
    assert run("jazz-1", "jazz-2", "--k", "4") == answer(predictor, {"items": ["jazz-1", "jazz-2"], "k": 4})
    (tmp_path / "body.json").write_text('{"inputs": [{"user": "u3", "exclude_seen": false}]}')
    assert run("--json", "body.json") == answer(predictor, {"user": "u3", "exclude_seen": False})
