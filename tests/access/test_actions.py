"""The conventions of actions: keyword-only, the actor first, atomic, and nothing that is done goes unrecorded."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(ROOT.glob("apps/*/actions.py"))
FILES = [*MODULES, *(ROOT / f"apps/datasets/{name}.py" for name in ("edits", "trash", "uploads"))]


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def actions() -> list[tuple[str, str]]:
    """Module and name of every public function that an actor does something by, or that ends an import."""
    found = []
    for path in FILES:
        for name, node in functions(path).items():
            arguments = [argument.arg for argument in node.args.kwonlyargs]
            if not name.startswith("_") and arguments[:1] in (["actor"], ["job"]):
                found.append((str(path.relative_to(ROOT)), name))
    return found


def records(module: Path, name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a function calls audit.record, itself or through a function of its module."""
    there = functions(module)
    for node in ast.walk(there[name]):
        if not isinstance(node, ast.Call):
            continue
        if ast.unparse(node.func) == "audit.record":
            return True
        name_called = node.func.id if isinstance(node.func, ast.Name) else ""
        if name_called in there.keys() - seen - {name} and records(module, name_called, seen | {name}):
            return True
    return False


def test_there_are_actions() -> None:
    assert len(actions()) > 25
    assert ("apps/teams/actions.py", "accept_invitation") in actions()


@pytest.mark.parametrize(("module", "name"), actions())
def test_an_action_is_recorded(module: str, name: str) -> None:
    assert records(ROOT / module, name), f"{module}: {name} leaves no audit entry"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.parent.name)
def test_actions_take_keywords_only_and_the_actor_first(path: Path) -> None:
    wrong = []
    for name, node in functions(path).items():
        if name.startswith("_"):
            continue
        keywords = [argument.arg for argument in node.args.kwonlyargs]
        if "actor" in keywords and (keywords[0] != "actor" or node.args.args):
            wrong.append(name)
        if "actor" in [argument.arg for argument in node.args.args]:
            wrong.append(name)
    assert wrong == []


@pytest.mark.parametrize(("module", "name"), actions())
def test_an_action_is_one_transaction(module: str, name: str) -> None:
    node = functions(ROOT / module)[name]
    assert "atomic" in ast.unparse(node), f"{module}: {name} is not atomic"
