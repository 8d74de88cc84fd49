"""Looking through rows and changing their labels by keys, as a person does."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import driving
from tests.stack import Stack

HOSTILE = "<img src=x onerror=\"document.title='taken'\">"


@pytest.fixture
def rows(stack: Stack, page: Page, tmp_path: Path) -> Page:
    """The rows' page of a fresh dataset: 130 texts of three classes, one of them with a hostile name."""
    lines = ["text,label"] + [f"parcel number {n} came late,{('delivery', 'praise')[n % 2]}" for n in range(118)]
    lines += [
        f'"包裹 {n} {HOSTILE.replace(chr(34), chr(34) * 2)}","{HOSTILE.replace(chr(34), chr(34) * 2)}"'
        for n in range(12)
    ]
    file = tmp_path / "parcels.csv"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    driving.sign_in(page, stack.url, stack.email, stack.password)
    driving.create_project(page, "Parcels")
    return driving.rows_of(page, file)


def test_rows_are_found_relabelled_by_keys_and_saved_as_one_version(rows: Page) -> None:
    keys = rows.keyboard
    rows.locator("body").press("j")
    keys.press("j")
    expect(rows.locator('[data-row="1"]')).to_be_focused()
    keys.press("2")  # classes are in the order of the alphabet: <img …, delivery, praise
    expect(driving.labels(rows, 1)).to_have_text(["delivery"])
    expect(rows.locator('[data-row="2"]')).to_be_focused()  # it goes on by itself
    keys.press("3")
    expect(rows.get_by_text("2 changes")).to_be_visible()
    keys.press("u")
    expect(driving.labels(rows, 2)).to_have_text(["delivery"])
    expect(rows.get_by_text("1 change", exact=True)).to_be_visible()

    # A range with Shift, on two pages, and all that match.
    rows.get_by_role("button", name="Next").click()
    expect(rows.locator('[data-row="50"]')).to_be_visible()
    rows.locator('[data-row="50"] [data-pick]').check()
    rows.locator('[data-row="54"] .row-text').click(modifiers=["Shift"])
    expect(rows.get_by_text("5 selected")).to_be_visible()
    keys.press("n")
    rows.get_by_label("Known or new label").fill(" damaged ")
    keys.press("Enter")
    expect(driving.labels(rows, 52)).to_have_text(["damaged"])
    expect(rows.get_by_text("6 changes")).to_be_visible()

    rows.get_by_label("Search").fill("包裹")
    expect(rows.locator("[data-row]")).to_have_count(12)
    assert rows.title() != "taken"
    expect(driving.labels(rows, 118)).to_have_text([HOSTILE])
    rows.locator('[data-row="118"] [data-pick]').check()
    rows.get_by_role("button", name="Select all that match").click()
    rows.locator(".relabel").get_by_role("button", name="praise").first.click()
    expect(rows.get_by_text("18 changes")).to_be_visible()

    # What is changed outlives the page, and so does what can be undone.
    rows.reload()
    expect(rows.get_by_text("18 changes")).to_be_visible()
    expect(driving.labels(rows, 118)).to_have_text(["praise"])
    rows.locator("body").press("Control+z")
    expect(rows.get_by_text("6 changes")).to_be_visible()
    rows.get_by_role("button", name="Save as version 2").click()
    rows.wait_for_url("**/datasets/dst_*")
    expect(rows.get_by_text("130 rows are ready")).to_be_visible(timeout=60_000)
    bars = rows.locator(".bars").first
    expect(bars).to_contain_text("damaged")
    bars.get_by_role("link", name="damaged").click()
    expect(rows.locator("[data-row]")).to_have_count(5)
    expect(rows.locator(".relabel-pending")).to_be_hidden()


def test_filters_that_find_nothing_lead_back_and_taps_relabel(rows: Page) -> None:
    rows.set_viewport_size({"width": 390, "height": 844})
    rows.get_by_label("Class", exact=True).select_option("delivery")
    expect(rows.get_by_text("59 rows")).to_be_visible()
    rows.get_by_label("Search").fill("no such parcel")
    expect(rows.get_by_role("heading", name="No row matches")).to_be_visible()
    rows.get_by_role("link", name="Show all rows").click()
    expect(rows.locator("[data-row]")).to_have_count(50)
    driving.labels(rows, 0).click()
    rows.get_by_role("dialog").get_by_role("button", name="praise").click()
    expect(driving.labels(rows, 0)).to_have_text(["praise"])
    key = rows.locator("#rows").get_attribute("data-key")
    kept = json.loads(rows.evaluate("key => sessionStorage.getItem(key)", key))
    assert kept["changes"] == {"0": {"given": ["delivery"], "labels": ["praise"]}}
    rows.once("dialog", lambda dialog: dialog.accept())
    rows.get_by_role("button", name="Discard").click()
    expect(driving.labels(rows, 0)).to_have_text(["delivery"])
