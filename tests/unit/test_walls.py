"""What holds the architecture: who may import whom, what may not be called, how long a file may be."""

import ast
import importlib.metadata
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("platform", "apps", "workers")
LONGEST_FILE, MEDIAN_FILE, LONGEST_FUNCTION = 500, 150, 60
BIGGEST_FILE_BYTES = 1_000_000


def committed() -> list[Path]:
    """Every file that git knows, or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def python_files(*folders: str) -> list[Path]:
    """Committed Python files in top-level folders (all where none is named), without generated migrations."""
    return [
        path
        for path in committed()
        if path.suffix == ".py"
        and "migrations" not in path.parts
        and (not folders or path.relative_to(ROOT).parts[0] in folders)
    ]


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that sees the source roots."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def modules_of(folder: str) -> list[str]:
    """Dotted names of every module below a folder of the repository root."""
    names = []
    for path in python_files(folder.split("/")[0]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "/".join(parts).startswith(folder) and parts[-1] != "__main__":
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(names)


def test_platform_is_a_plain_folder() -> None:
    """`platform` is a module of the standard library: a package of that name would hide it."""
    assert not (ROOT / "platform" / "__init__.py").exists()
    done = python("import platform; print(platform.python_implementation())")
    assert done.stdout.strip() == sys.implementation.name.replace("cpython", "CPython"), done.stderr


def test_no_module_on_a_source_root_hides_another() -> None:
    installed = set(importlib.metadata.packages_distributions())
    taken = set(sys.stdlib_module_names) | installed
    for root in (ROOT, ROOT / "platform"):
        for path in root.iterdir():
            if (path.suffix == ".py" or (path / "__init__.py").exists()) and not path.name.startswith("."):
                assert path.stem not in taken, f"{path.name} hides a module of that name"


def test_imports_go_down_only() -> None:
    """The contracts in pyproject.toml."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def test_workers_live_without_django() -> None:
    blocked = "('django', 'rest_framework', 'apps', 'slipway')"
    done = python(
        "import importlib, sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {blocked}:\n"
        "            raise ImportError(f'{name} is blocked')\n"
        "sys.meta_path.insert(0, Blocker())\n"
        f"for name in {modules_of('workers')!r}:\n"
        "    importlib.import_module(name)\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("part", "heavy"),
    [
        ("workers/serving", ["torch", "celery", "django"]),
        ("workers/inference", ["torch", "celery", "redis"]),
        ("workers/runner", ["torch", "onnxruntime"]),
        ("workers/contracts", ["torch", "numpy", "redis", "celery"]),
        ("workers/ingest", ["torch", "celery", "redis"]),
        ("workers/batch", ["torch", "celery", "redis"]),
        ("workers/engine", ["celery", "redis"]),
    ],
)
def test_a_light_part_loads_no_heavy_library(part: str, heavy: list[str]) -> None:
    """Also not through somebody else: what counts is what is loaded in the end."""
    modules = modules_of(part)
    assert modules, f"{part} holds no module"
    done = python(
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_control_plane_loads_no_model_library() -> None:
    done = python(
        "import os, sys, tempfile\n"
        "os.environ.update(DJANGO_SETTINGS_MODULE='slipway.settings', SLIPWAY_HOME=tempfile.mkdtemp())\n"
        "import django, importlib; django.setup(); import slipway.urls\n"
        "import django.urls; django.urls.get_resolver().url_patterns\n"
        f"for name in {modules_of('apps')!r}:\n"
        "    importlib.import_module(name)\n"
        "print([name for name in ('torch', 'onnxruntime', 'sklearn') if name in sys.modules])"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "torch.load",
    "joblib.load",
    "marshal.loads",
    "marshal.load",
}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


def calls_of(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """(dotted name, node) of every call in a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def is_true(node: ast.Call, keyword: str) -> bool:
    """Whether a call passes keyword=<anything but False>."""
    return any(
        k.arg == keyword and not (isinstance(k.value, ast.Constant) and not k.value.value) for k in node.keywords
    )


def test_no_call_runs_what_data_says() -> None:
    found = []
    for path in python_files(*SOURCES, "benchmarks", "manage.py"):
        for name, node in calls_of(path):
            if name in FORBIDDEN_CALLS or is_true(node, "shell") or is_true(node, "allow_pickle"):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                found += [
                    f"{path.relative_to(ROOT)}:{node.lineno} {n}" for n in names if n.split(".")[0] in FORBIDDEN_MODULES
                ]
    assert found == []


def test_numpy_never_unpickles() -> None:
    """np.load refuses pickles by default; nobody may rely on another default than that."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in python_files(*SOURCES)
        for name, node in calls_of(path)
        if name in ("np.load", "numpy.load") and is_true(node, "allow_pickle")
    ]
    assert found == []


def test_files_and_functions_stay_short() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in python_files(*SOURCES)}
    assert {p.relative_to(ROOT): n for p, n in lengths.items() if n > LONGEST_FILE} == {}
    assert statistics.median(n for n in lengths.values() if n > 0) < MEDIAN_FILE
    long = []
    for path in lengths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({length})")
    assert long == []


def test_locks_pin_everything_and_name_no_registry() -> None:
    lock = (ROOT / "requirements" / "dev.lock").read_text()
    pins = re.findall(r"^[A-Za-z0-9][^=\n]*==[^\\\n]+\\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", lock, re.M)
    assert len(pins) == len(re.findall(r"^[A-Za-z0-9]", lock, re.M))
    for name in ("requirements/dev.lock", "requirements/torch.txt", ".npmrc", "pyproject.toml", "Makefile"):
        text = (ROOT / name).read_text()
        assert not re.search(r"--(extra-)?index-url|--find-links|registry\s*=|files\.pythonhosted", text), name
    packages = (ROOT / "package-lock.json").read_text()
    assert '"resolved"' not in packages
    assert packages.count('"integrity"') == packages.count('"node_modules/')


def test_nothing_of_this_machine_is_committed() -> None:
    # Spelled so that this file does not hold what it looks for.
    paths = re.compile(rb"/(wor" + rb"k/|far" + rb"m/|tmp/bash_job" + rb"s|home/[a-z]+/)")
    registries = re.compile(rb"(registry\.npmj" + rb"s\.org|pypi\.o" + rb"rg/simple|files\.pythonhoste" + rb"d\.org)")
    for path in committed():
        data = path.read_bytes()
        name = path.relative_to(ROOT)
        assert len(data) <= BIGGEST_FILE_BYTES, f"{name} holds {len(data)} bytes"
        if b"\0" not in data[:8000]:
            assert not (found := paths.search(data)), f"{name} holds the path {found and found[0]!r}"
            assert not (found := registries.search(data)), f"{name} names the registry {found and found[0]!r}"


def test_nothing_is_left_undone() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME)\b|raise NotImplemented" + r"Error|mark\.(xfail|skip)\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in python_files()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []
