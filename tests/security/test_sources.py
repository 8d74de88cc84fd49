"""What the sources may not contain, and which versions of packages are too old (see docs/security.md)."""

import ast
import importlib.metadata
import re

import pytest

from tests.unit.test_walls import ROOT, SOURCES, calls_of, python_files

# Below these, published holes are open that an attacker of Slipway could reach.
FLOORS = {
    "django": (5, 2, 17),
    "django-allauth": (65, 19, 4),
    "onnx": (1, 21, 0),
    "pillow": (12, 3, 0),
    "pyarrow": (26, 0, 0),
    "redis": (4, 5, 5),
    "torch": (2, 10, 0),
}


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_no_package_is_older_than_its_last_known_hole(package: str, floor: tuple[int, ...]) -> None:
    installed = importlib.metadata.version(package)
    assert tuple(map(int, re.findall(r"\d+", installed)[: len(floor)])) >= floor, installed


def calls(*names: str) -> list[tuple[str, ast.Call]]:
    """The places of all calls of these functions in the sources."""
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node)
        for path in python_files(*SOURCES)
        for name, node in calls_of(path)
        if name in names
    ]


def test_a_decoder_of_images_is_named_and_never_found_by_content() -> None:
    found = calls("Image.open")
    assert found
    assert [place for place, node in found if "formats" not in {keyword.arg for keyword in node.keywords}] == []


def test_no_model_is_loaded_by_its_path_and_none_brings_code() -> None:
    """Beside a path lie files that a model may name."""
    found = calls("onnxruntime.InferenceSession", "InferenceSession")
    assert found
    assert [place for place, node in found if not ast.unparse(node.args[0]).endswith("read_bytes()")] == []
    text = "".join(path.read_text("utf-8") for path in python_files(*SOURCES))
    assert "register_custom_ops_library" not in text and "torch.jit.load" not in text


def test_addresses_reach_no_library_that_opens_anything() -> None:
    """fsspec opens files, archives and other protocols, as an address asks."""
    imports: dict[str, set[str]] = {"fsspec": set(), "s3fs": set(), "urllib.request": set(), "requests": set()}
    for path in python_files(*SOURCES):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name in imports:
                    imports[name].add(str(path.relative_to(ROOT)))
    assert imports["s3fs"] == {"workers/storage.py", "workers/fetch/bucket.py"}
    assert imports["fsspec"] <= {"workers/storage.py"}
    # The supervisor asks its own processes how they are.
    assert imports["urllib.request"] <= {"platform/slipway/processes.py"} and imports["requests"] == set()


def test_no_query_of_the_database_is_made_of_text() -> None:
    for path in python_files("apps", "platform"):
        for name, node in calls_of(path):
            method = name.rpartition(".")[2]
            place = f"{path.relative_to(ROOT)}:{node.lineno} {name}"
            assert method not in ("raw", "extra"), place
            if method in ("execute", "executemany", "RawSQL") and node.args:
                assert not isinstance(node.args[0], ast.JoinedStr | ast.BinOp), place
            if method in ("filter", "exclude", "order_by", "values"):
                given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg is None)]
                assert not any("request." in ast.unparse(value) for value in given), place
