"""The rest of a new user's first hour: train, look at the result, deploy, ask, see the request counted."""

import uuid
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser import driving
from tests.stack import Stack

MINUTES = 60_000


def two_moods(folder: Path) -> Path:
    """A small file whose classes a model learns in seconds."""
    places = ["harbour", "market", "station", "garden", "bridge", "museum", "beach", "library"]
    praise = ["lovely", "wonderful", "excellent", "delightful", "splendid"]
    blame = ["dreadful", "awful", "horrible", "terrible", "miserable"]
    rows = [f"the {place} was {word} on day {n},praise" for place in places for word in praise for n in range(4)]
    rows += [f"the {place} was {word} on day {n},blame" for place in places for word in blame for n in range(4)]
    file = folder / "moods.csv"
    file.write_text("text,label\n" + "\n".join(rows) + "\n")
    return file


def test_data_becomes_a_hosted_model_by_clicks_alone(stack: Stack, page: Page, tmp_path: Path) -> None:
    driving.sign_up(page, stack.url, f"{uuid.uuid4().hex}@example.com", name="Noor Haddad")
    driving.create_project(page, "Moods")
    driving.upload(page, two_moods(tmp_path))
    driving.import_it(page)

    page.get_by_role("link", name="Train a model").click()
    page.locator(".choice").filter(has_text="Fast").click()
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/jobs/job_*")
    over = page.get_by_text("is ready").or_(page.get_by_role("alert"))
    expect(over.first).to_be_visible(timeout=5 * MINUTES)
    expect(over.first).to_contain_text("is ready")

    page.get_by_role("link", name="See how good it is").click()
    expect(page.get_by_text("What was evaluated is what will be served")).to_be_visible()
    page.get_by_role("tab", name="Classes").click()
    for order in (["blame", "praise"], ["praise", "blame"]):
        page.get_by_role("columnheader", name="Class").get_by_role("button").click()
        expect(page.locator("[data-sortable] tbody td:first-child")).to_have_text(order)
    page.get_by_role("link", name="Deploy").click()
    page.get_by_label("Name").fill("Guest book")
    page.get_by_role("button", name="Deploy").click()
    page.wait_for_url("**/endpoints/end_*")
    expect(page.get_by_text("Online").first).to_be_visible(timeout=MINUTES)

    # Without a mouse, too.
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.get_by_role("tabpanel").filter(has_text="requests.post")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="curl")).to_be_focused()

    page.get_by_label("Text", exact=True).fill("the castle was wonderful")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("[data-label]")).to_have_text("praise")
    expect(page.locator("[data-explanation]")).to_have_count(0)

    page.get_by_label("Explain the answer").check()
    page.get_by_role("button", name="Predict").click()
    # The word that only praise has is marked as speaking for it, with a sign beside the colour.
    expect(page.locator(".pieces mark[class^=for]").filter(has_text="wonderful")).to_contain_text("+")
    expect(page.locator("[data-explanation]")).to_contain_text("speaks for “praise”")

    page.get_by_role("link", name="Moods").first.click()
    expect(page.locator(".stage").filter(has_text="Usage")).to_contain_text("2 requests", timeout=MINUTES)
    expect(page.locator(".stage-done")).to_have_count(5)
    page.get_by_role("link", name="See the usage").click()
    expect(page.locator(".stats")).to_contain_text("Requests")
