"""What a bundle must be before it may answer. onnxruntime sees none of the refused."""

import json
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.serving import bundles
from workers.contracts.errors import UserError
from workers.serving.bundles import open_bundle
from workers.serving.graph import check_model


def test_a_good_bundle_opens_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = bundles.text_bundle(tmp_path / "good.zip")
    loaded = open_bundle(path)
    assert loaded.manifest.labels == bundles.TEXT_LABELS
    assert loaded.predictor.predict(loaded.predictor.parse(["good"]))[0]["label"] == "positive"
    assert list(tmp_path.iterdir()) == [path]


def changed(model: onnx.ModelProto, how: str) -> onnx.ModelProto:
    """A model with one thing in it that ours never have."""
    graph, tensor = model.graph, model.graph.initializer[0]
    match how:
        case "external data":
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="../../etc/passwd")
        case "external data in a constant":
            hidden = numpy_helper.from_array(np.zeros(2, np.float32))
            hidden.data_location = TensorProto.EXTERNAL
            hidden.external_data.add(key="location", value="/etc/hostname")
            graph.node.append(helper.make_node("Constant", [], ["c"], value=hidden))
        case "sparse initializer":
            values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
            indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
            graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 28]))
        case "sparse constant":
            values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
            indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
            sparse = helper.make_sparse_tensor(values, indices, [1 << 28])
            graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse))
        case "large claim":
            tensor.dims[:] = [1 << 20, 1 << 20]
        case "negative size":
            tensor.dims[:] = [-1, 2]
        case "subgraph":
            branch = helper.make_graph([], "b", [], [])
            graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))
        case "custom domain":
            model.opset_import.append(helper.make_opsetid("evil.ops", 1))
        case "custom domain of a node":
            graph.node.append(helper.make_node("Run", ["x"], ["y"], domain="evil.ops"))
        case "function":
            model.functions.append(helper.make_function("f", "F", ["a"], ["b"], [], [helper.make_opsetid("", 18)]))
    return model


@pytest.mark.parametrize(
    "how",
    [
        "external data",
        "external data in a constant",
        "sparse initializer",
        "sparse constant",
        "large claim",
        "negative size",
        "subgraph",
        "custom domain",
        "custom domain of a node",
        "function",
    ],
)
def test_a_model_that_reaches_outside_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = bundles.text_bundle(tmp_path / "bad.zip", model=changed(bundles.text_model(), how))

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("onnxruntime was called")

    monkeypatch.setattr(onnxruntime, "InferenceSession", never)
    with pytest.raises(UserError) as caught:
        open_bundle(path)
    assert caught.value.code == "bundle_invalid"
    assert str(tmp_path) not in caught.value.message


def test_what_is_no_model_is_refused() -> None:
    for data in (b"\xff" * 100, b"not a model"):
        with pytest.raises(UserError):
            check_model(data)


def rewritten(path: Path, target: Path, **files: bytes | None) -> Path:
    """A copy of a bundle with files replaced, added or (None) left out."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if name not in files:
                new.writestr(name, old.read(name))
        for name, data in files.items():
            if data is not None:
                new.writestr(name, data)
    return target


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer.json": b"{}"},
        {"tokenizer.json": None},
        {"manifest.json": None},
        {"manifest.json": b"{}"},
        {"extra.txt": b"x"},
        {"../outside": b"x"},
        {"predict.py": b"import os"},
    ],
)
def test_files_other_than_the_manifests_are_refused(tmp_path: Path, files: dict[str, bytes | None]) -> None:
    good = bundles.text_bundle(tmp_path / "good.zip")
    with pytest.raises(UserError) as caught:
        open_bundle(rewritten(good, tmp_path / "bad.zip", **files))
    assert caught.value.code == "bundle_invalid"
    assert not (tmp_path.parent / "outside").exists()


@pytest.mark.parametrize("name", ["../up", "/root", ".hidden", "a/b", "x" * 200])
def test_a_file_with_a_strange_name_is_refused(tmp_path: Path, name: str) -> None:
    good = bundles.text_bundle(tmp_path / "good.zip")
    with zipfile.ZipFile(good) as bundle:
        manifest = json.loads(bundle.read("manifest.json"))
    manifest["files"][name] = {"sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", "bytes": 1}
    with pytest.raises(UserError):
        open_bundle(
            rewritten(good, tmp_path / "bad.zip", **{"manifest.json": json.dumps(manifest).encode(), name: b"x"})
        )


def test_a_bundle_without_a_passed_certificate_is_refused(tmp_path: Path) -> None:
    failed = {"examples": 9, "label_flips": 3, "max_abs_difference": 0.5, "tolerance": 1e-4, "passed": False}
    with pytest.raises(UserError) as caught:
        open_bundle(bundles.text_bundle(tmp_path / "bad.zip", certificate=failed))
    assert caught.value.code == "certificate_missing"


def test_a_model_that_no_longer_answers_as_it_did_is_refused(tmp_path: Path) -> None:
    good = bundles.text_bundle(tmp_path / "good.zip")
    other = bundles.text_bundle(tmp_path / "other.zip", flipped=True)
    with zipfile.ZipFile(good) as one, zipfile.ZipFile(other) as two:
        reference = two.read("reference.json")
        manifest = json.loads(one.read("manifest.json"))
        manifest["files"]["reference.json"] = json.loads(two.read("manifest.json"))["files"]["reference.json"]
    mixed = {"reference.json": reference, "manifest.json": json.dumps(manifest).encode()}
    with pytest.raises(UserError, match="reference cases"):
        open_bundle(rewritten(good, tmp_path / "bad.zip", **mixed))


def test_a_torn_zip_is_refused(tmp_path: Path) -> None:
    good = bundles.text_bundle(tmp_path / "good.zip")
    torn = shutil.copy(good, tmp_path / "torn.zip")
    Path(torn).write_bytes(good.read_bytes()[:-40])
    with pytest.raises(UserError):
        open_bundle(Path(torn))


def repacked(path: Path, target: Path, method: int) -> Path:
    """A copy of a bundle, packed by another method of zip."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return target


def claiming(data: bytes, *, flags: int = 0, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip whose entries' headers, each of which stands twice, claim these flags and this method (APPNOTE.TXT)."""
    changed = bytearray(data)
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for found in re.finditer(re.escape(signature), data):
            struct.pack_into("<HH", changed, found.start() + place, flags, method)
    return bytes(changed)


def damaged(data: bytes) -> bytes:
    """A zip whose first entry begins with other bytes than were packed: its stream breaks before its checksum."""
    name, extra = struct.unpack_from("<HH", data, 26)
    start = 30 + name + extra
    return data[:start] + b"\xff" * 16 + data[start + 16 :]


CANNOT_BE_READ: dict[str, Callable[[bytes], bytes]] = {
    "encrypted": lambda data: claiming(data, flags=1),
    "patched": lambda data: claiming(data, flags=1 << 5),
    "strongly encrypted": lambda data: claiming(data, flags=1 << 6),
    "unknown method": lambda data: claiming(data, method=77),
    "damaged": damaged,
}


@pytest.mark.parametrize("how", CANNOT_BE_READ)
def test_a_zip_that_cannot_be_read_is_refused(tmp_path: Path, how: str) -> None:
    packed = repacked(bundles.text_bundle(tmp_path / "good.zip"), tmp_path / "packed.zip", zipfile.ZIP_DEFLATED)
    assert open_bundle(packed).manifest.labels == bundles.TEXT_LABELS
    bad = tmp_path / "bad.zip"
    bad.write_bytes(CANNOT_BE_READ[how](packed.read_bytes()))
    with pytest.raises(UserError) as caught:
        open_bundle(bad)
    assert caught.value.code == "bundle_invalid"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_by_another_method_than_ours_is_refused(tmp_path: Path, method: int) -> None:
    good = bundles.text_bundle(tmp_path / "good.zip")
    with pytest.raises(UserError, match="unusual method"):
        open_bundle(repacked(good, tmp_path / "bad.zip", method))
