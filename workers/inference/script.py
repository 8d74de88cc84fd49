"""A bundle's predict.py: the modules that serve its kind of model, joined into one file without our imports."""

import ast
import sys
from importlib.util import find_spec
from pathlib import Path

from workers.inference.runtime import PREDICTORS

_PACKAGE = "workers.inference"
_COMMAND = f"{_PACKAGE}.command"


def predict_script(predictor: str) -> str:
    """The source of predict.py for one kind of predictor: its module and what that imports of this package, each after
    what it needs, then the command line. Raises KeyError."""
    served = PREDICTORS[predictor]
    modules: list[str] = []
    for name in (served.__module__, _COMMAND):
        _collect(name, modules)
    doc = sys.modules[served.__module__].__doc__
    head = f'"""{doc}\n\nPredicts with the bundle in this folder; it is what the hosted endpoint runs.\n"""\n'
    tail = f'if __name__ == "__main__":\n    raise SystemExit(main({served.__name__}))\n'
    return "\n\n".join([head, *(_without_our_imports(_source(name)) for name in modules), tail])


def _collect(name: str, modules: list[str]) -> None:
    """Put a module behind those of ours that it imports."""
    for node in ast.parse(_source(name)).body:
        if isinstance(node, ast.ImportFrom) and node.module and _is_ours(node):
            _collect(node.module, modules)
    if name not in modules:
        modules.append(name)


def _is_ours(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGE)


def _source(name: str) -> str:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ImportError(name)
    return Path(spec.origin).read_text(encoding="utf-8")


def _without_our_imports(source: str) -> str:
    """The lines of a module but its docstring and its imports from this package, whose names are there already."""
    tree = ast.parse(source)
    left_out = [node for node in tree.body if _is_ours(node)]
    if ast.get_docstring(tree) is not None:
        left_out.append(tree.body[0])
    gone = {line for node in left_out for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    kept = (line for number, line in enumerate(source.splitlines(), 1) if number not in gone)
    return "\n".join(kept).strip("\n") + "\n"
