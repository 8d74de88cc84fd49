"""People on the pages: inviting and joining, keys and tokens that are shown once, saying something."""

import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import driving
from tests.stack import Stack


@pytest.fixture
def fresh_team(stack: Stack, page: Page) -> Callable[[], str]:
    """Signs a new user up; gives their address."""

    def make() -> str:
        email = f"{uuid.uuid4().hex}@example.com"
        driving.sign_up(page, stack.url, email, name="Alice Moreau", team="Harbour")
        return email

    return make


def test_an_invited_person_joins_by_the_link(
    stack: Stack, page: Page, fresh_team: Callable[[], str], chromium: Browser
) -> None:
    fresh_team()
    page.get_by_role("link", name="Members", exact=True).click()
    page.get_by_role("button", name="Invite").click()
    bob = f"{uuid.uuid4().hex}@example.com"
    page.get_by_label("Email address").fill(bob)
    page.get_by_label("Role", exact=True).select_option("viewer")
    page.get_by_role("button", name="Send the invitation").click()
    link = page.locator(".secret code").inner_text()
    assert "/invitations/" in link
    expect(page.get_by_text("Open invitations")).to_be_visible()

    context = chromium.new_context()
    theirs = context.new_page()
    theirs.goto(link)
    expect(theirs.get_by_role("heading", name="Join Harbour")).to_be_visible()
    theirs.get_by_role("link", name="Create an account").click()
    theirs.get_by_label("Email").fill(bob)
    theirs.locator("input[name=password1]").fill(driving.PASSWORD)
    theirs.get_by_role("button", name="Create account").click()
    theirs.get_by_role("button", name="Join the team").click()
    expect(theirs.get_by_text("Welcome to Harbour.")).to_be_visible()
    expect(theirs.get_by_role("link", name="New project")).to_have_count(0)
    context.close()

    page.reload()
    expect(page.get_by_text(bob)).to_be_visible()


def test_a_key_is_shown_once_and_can_be_revoked(page: Page, fresh_team: Callable[[], str]) -> None:
    fresh_team()
    page.get_by_role("link", name="API keys").click()
    page.get_by_role("button", name="Create a key").click()
    page.get_by_label("Name").fill("checkout")
    page.get_by_role("button", name="Create key").click()
    text = page.locator(".secret code").inner_text()
    assert text.startswith("swk_")
    page.reload()
    assert text not in page.content()
    expect(page.get_by_role("row", name="checkout")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row", name="checkout")).to_contain_text("Revoked")


def test_a_personal_token_opens_the_control_api(stack: Stack, page: Page, fresh_team: Callable[[], str]) -> None:
    email = fresh_team()
    page.goto(f"{stack.url}/account/tokens")
    page.get_by_role("button", name="Create a token").click()
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Create token").click()
    token = page.locator(".secret code").inner_text()
    answer = page.request.get(f"{stack.url}/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["email"] == email


def test_a_project_is_talked_about(page: Page, fresh_team: Callable[[], str]) -> None:
    fresh_team()
    driving.create_project(page, "Message triage")
    page.get_by_label("Comment").fill("Shall we add a class?")
    page.get_by_role("button", name="Comment", exact=True).click()
    expect(page.locator(".comments")).to_contain_text("Shall we add a class?")

    page.get_by_role("button", name="Add a milestone").click()
    page.get_by_label("Title").fill("Beta")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name="Mark “Beta” as reached").click()
    expect(page.locator("#milestones .milestone.done")).to_contain_text("Beta")

    page.get_by_role("button", name="Edit the brief").click()
    page.locator("textarea[name=brief]").fill("Sort messages.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("paragraph").filter(has_text="Sort messages.")).to_be_visible()
    page.reload()
    expect(page.locator(".activity")).to_contain_text("completed the milestone Beta")


def test_dark_mode_is_remembered(stack: Stack, page: Page) -> None:
    page.goto(stack.url)
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
    page.get_by_role("button", name="Switch between light and dark").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
