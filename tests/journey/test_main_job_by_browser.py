"""The main job in a real browser, on real data: a file goes in, a metered model answers, and the answers are right."""

import csv
import re
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import driving
from tests.journey.data import real
from tests.stack import Stack

MINUTE_MS = 60_000


@dataclass(frozen=True)
class Task:
    """One template's way through the product. `ask` fills the playground and says what has to come out."""

    source: Callable[[Path], Path]
    rows: str
    template: str
    asks: int
    metric: str
    least: float
    ask: Callable[[Page, Path, Path, int], None]
    # What keeps it short here, by the label of its field; by the API all is as the preset says.
    settings: Mapping[str, str] = field(default_factory=dict)


def some_photos(folder: Path) -> Path:
    """The real photos of three classes."""
    with zipfile.ZipFile(real("cifar10-small.zip")) as whole, zipfile.ZipFile(folder / "photos.zip", "w") as part:
        for name in whole.namelist():
            if name.split("/")[1] in ("frog", "ship", "truck"):
                part.writestr(name, whole.read(name))
    return folder / "photos.zip"


def predict(page: Page) -> Locator:
    """Send the playground's form; the new answer."""
    before = page.locator("#answer").inner_html()
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#answer")).not_to_have_js_property("innerHTML", before)
    answer = page.locator("#answer [data-answer]")
    expect(answer).to_be_visible()
    return answer


def ask_about_texts(page: Page, source: Path, folder: Path, number: int) -> None:
    with open(source, encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    wanted = ("spam", "ham")[number % 2]
    # Messages whose kind nobody would doubt.
    telling = {"spam": "prize", "ham": "home"}[wanted]
    row = [row for row in rows if row["label"] == wanted and telling in row["text"].lower().split()][number]
    page.get_by_label("Text", exact=True).fill(row["text"])
    expect(predict(page).locator("[data-label]")).to_have_text(wanted)


def ask_about_photos(page: Page, source: Path, folder: Path, number: int) -> None:
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if name.startswith("test/truck/") and name.endswith(".jpg")]
        (folder / f"{number}.jpg").write_bytes(archive.read(names[number]))
    page.locator("input[type=file][name=image]").set_input_files(folder / f"{number}.jpg")
    expect(predict(page).locator("[data-label]")).to_have_text("truck")


def ask_about_listeners(page: Page, source: Path, folder: Path, number: int) -> None:
    with open(source, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    user = sorted({row["user"] for row in rows if row["split"] == "test"})[number]
    known = {row["artist"] for row in rows if row["user"] == user and row["split"] == "train"}
    page.get_by_label("User", exact=True).fill(user)
    page.get_by_label("How many").fill("20")
    items = predict(page).locator("[data-item]")
    expect(items).to_have_count(20)
    assert not known & set(items.all_inner_texts())


TASKS = {
    "text": Task(lambda _: real("sms.csv"), "5,574", "Text classification", 3, "Accuracy", 0.975, ask_about_texts),
    "image": Task(some_photos, "1,800", "Image classification", 2, "Accuracy", 0.8, ask_about_photos, {"Epochs": "6"}),
    "recommendation": Task(
        lambda _: real("lastfm.csv"),
        "52,668",
        "Recommendation",
        2,
        "Recall@20",
        0.25,
        ask_about_listeners,
        {"Algorithm": "ease"},
    ),
}


@pytest.mark.parametrize("kind", list(TASKS))
def test_a_file_becomes_a_metered_endpoint_by_clicks_alone(stack: Stack, page: Page, tmp_path: Path, kind: str) -> None:
    task = TASKS[kind]
    source = task.source(tmp_path)
    driving.sign_up(page, stack.url, f"{uuid.uuid4().hex}@example.com", name="Noor Haddad")
    driving.create_project(page, f"Project {kind}")
    driving.upload(page, source)
    if kind == "recommendation":
        page.locator("label.choice").filter(has=page.locator("input[value=recommendation]")).click()
        page.locator("select[name=recommendation-user]").select_option("user")
        page.locator("select[name=recommendation-item]").select_option("artist")
    driving.import_it(page)
    expect(page.locator(".stats").first).to_contain_text(task.rows)

    page.get_by_role("link", name="Train a model").first.click()
    expect(page.get_by_role("heading", name=task.template)).to_be_visible()
    page.locator(".choice").filter(has_text="Fast").click()
    page.get_by_text("More options").click()
    for label, value in task.settings.items():
        control = page.get_by_label(label, exact=True)
        is_choice = control.evaluate("element => element.tagName") == "SELECT"
        control.select_option(value) if is_choice else control.fill(value)
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/jobs/job_*")
    expect(page.get_by_text("is ready")).to_be_visible(timeout=8 * MINUTE_MS)

    page.get_by_role("link", name="See how good it is").click()
    expect(page.get_by_text("What was evaluated is what will be served")).to_be_visible()
    row = page.get_by_role("row").filter(has_text=task.metric).first
    assert float(row.get_by_role("cell").nth(1).inner_text()) >= task.least

    page.get_by_role("link", name="Deploy").click()
    page.get_by_label("Name").fill(f"Hosted {kind}")
    page.get_by_role("button", name="Deploy").click()
    page.wait_for_url("**/endpoints/end_*")
    expect(page.locator("#endpoint-live").get_by_text("Online").first).to_be_visible(timeout=MINUTE_MS)
    for number in range(task.asks):
        task.ask(page, source, tmp_path, number)
    expect(page.locator("[data-requests]")).to_have_attribute("data-requests", re.compile(f"^{task.asks}$"))

    page.get_by_role("link", name="Usage").last.click()
    expect(page.locator("#usage [data-requests]")).to_have_attribute("data-requests", str(task.asks))
    expect(page.get_by_role("row").filter(has_text="Playground of Noor Haddad")).to_contain_text(str(task.asks))
