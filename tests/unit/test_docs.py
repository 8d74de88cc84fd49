"""Documentation that cannot drift: the page of errors, the names in the README, the links."""

import ast
import re
import runpy
from pathlib import Path

import pytest

from workers.contracts import names
from workers.contracts.error_codes import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]
ERRORS = {"SlipwayError", "UserError", "JobError", "InfraError"}
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def sources() -> list[Path]:
    folders = ("apps", "workers", "platform")
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts]


def test_the_page_of_errors_is_the_catalogue() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_errors.py"))["page"]
    assert (ROOT / "docs" / "errors.md").read_text("utf-8") == page(), "run: python docs/make_errors.py"


def test_every_code_that_is_raised_is_in_the_catalogue() -> None:
    unknown = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ERRORS and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant) and code.value not in CATALOGUE:
                    unknown.append(f"{path.relative_to(ROOT)}:{node.lineno} {code.value}")
    assert unknown == []


def test_every_code_of_the_catalogue_is_in_use() -> None:
    text = "\n".join(path.read_text("utf-8") for path in sources() if path.name != "error_codes.py")
    assert [code for code in CATALOGUE if f'"{code}"' not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Paths in backticks that begin with a folder of the repository."""
    folders = "|".join(("platform", "apps", "workers", "templates", "tests", "docs", "static", "benchmarks"))
    for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text("utf-8")):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_every_variable_of_the_environment_is_documented() -> None:
    readers = (ROOT / "platform" / "slipway" / "env.py", ROOT / "workers" / "serving" / "config.py")
    named = {name for path in readers for name in re.findall(r'"(SLIPWAY_[A-Z_]+)"', path.read_text("utf-8"))}
    told = (ROOT / "docs" / "running.md").read_text("utf-8")
    internal = {"SLIPWAY_EMBEDDED_DATABASE"}
    assert {name for name in named - internal if f"`{name}`" not in told} == set()


def test_on_several_machines_somebody_takes_from_every_queue() -> None:
    told = (ROOT / "docs" / "running.md").read_text("utf-8")
    taken = {queue for listed in re.findall(r"--queues=([\w.,]+)", told) for queue in listed.split(",")}
    queues = {value for name, value in vars(names).items() if name.startswith("QUEUE_")}
    assert {queue for queue in queues - taken if f"`{queue}`" not in told} == set()


def test_the_page_on_templates_names_every_template_method_and_kind_table() -> None:
    page = (ROOT / "docs" / "adding-a-task-template.md").read_text("utf-8")
    named = set(re.findall(r"`(\w+)\(", page))
    classes = ("run", "classification")
    source = "\n".join((ROOT / "workers" / "engine" / f"{name}.py").read_text("utf-8") for name in classes)
    assert {name for name in named if name != "train" and f"def {name}(" not in source} == set()
    # Whatever knows kinds by name is a place to look at when one comes.
    for path in sources():
        if re.search(r'"recommendation": |Kind\.RECOMMENDATION: ', path.read_text("utf-8")):
            name = str(path.relative_to(ROOT))
            assert name in page or "migrations" in name, f"{name} has a table of kinds that the page does not name"
