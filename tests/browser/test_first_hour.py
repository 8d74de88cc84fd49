"""What a new user does first: an account, a project, data."""

import uuid
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser import driving
from tests.journey.data import real
from tests.stack import Stack


def test_a_new_user_goes_from_sign_up_to_imported_data(stack: Stack, page: Page) -> None:
    driving.sign_up(page, stack.url, f"{uuid.uuid4().hex}@example.com", name="Noor Haddad", team="Harbour")
    expect(page.get_by_role("heading", name="Welcome, Noor Haddad")).to_be_visible()

    driving.create_project(page, "Message triage", "Sort messages before people read them.")
    stage = page.locator("[aria-current=step]")
    expect(stage).to_contain_text("Data")
    expect(page.get_by_text("Sort messages before people read them.").first).to_be_visible()

    driving.upload(page, real("sms.csv"))
    expect(page.get_by_label("Name", exact=True)).to_have_value("sms")
    expect(page.get_by_label("Text", exact=True).locator("visible=true").last).to_have_value("text")
    expect(page.locator("select[name=text-label]")).to_have_value("label")
    expect(page.locator("th[data-column=label] [data-role-tag]")).to_have_text("Label")

    driving.import_it(page)
    expect(page.locator(".stats")).to_contain_text("5,574")
    expect(page.locator("#rows-list tbody tr")).to_have_count(50)
    page.get_by_label("Search").fill("free entry")
    expect(page.locator("#rows-list")).not_to_contain_text("5,574 rows")
    expect(page.locator("#rows-list tbody tr").first).to_contain_text("FREE entry")
    expect(page.get_by_label("Search")).to_be_focused()

    page.get_by_role("link", name="Message triage").first.click()
    expect(stage).to_contain_text("Train")
    expect(page.get_by_role("link", name="Train a model")).to_be_visible()


def test_a_file_that_is_no_data_is_refused_in_words(stack: Stack, page: Page, tmp_path: Path) -> None:
    program = tmp_path / "setup.exe"
    program.write_bytes(b"MZ\x90\x00" + bytes(range(256)) * 40)
    driving.sign_in(page, stack.url, stack.email, stack.password)
    driving.create_project(page, "Not data")
    driving.upload(page, program)
    expect(page.get_by_role("alert")).to_contain_text("format")
    expect(page.get_by_role("link", name="Choose another file")).to_be_visible()
