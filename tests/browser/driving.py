"""What people do on the pages, in one place: selectors change, the steps do not."""

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

PATIENCE_MS = 20_000
PASSWORD = "correct-horse-battery"


def flags() -> list[str]:
    """Chromium without what needs root or the network."""
    return ["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage"]


def sign_up(page: Page, url: str, email: str, *, name: str = "", team: str = "") -> None:
    """Make an account; ends on the home of its team."""
    page.goto(f"{url}/accounts/signup/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Team").fill(team)
    page.locator("input[name=password1]").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url("**/teams/*")


def sign_in(page: Page, url: str, email: str, password: str) -> None:
    """Sign in; ends on the home of the user's team."""
    page.goto(f"{url}/accounts/login/")
    page.get_by_label("Email").fill(email)
    page.locator("input[name=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/teams/*")


def create_project(page: Page, name: str, brief: str = "") -> None:
    """From the team's home; ends on the project's page."""
    page.get_by_role("link", name="Create a project").or_(page.get_by_role("link", name="New project")).first.click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Brief").fill(brief)
    page.get_by_role("button", name="Create project").click()
    page.wait_for_url("**/projects/prj_*")


def upload(page: Page, file: Path) -> None:
    """From the project's page by the file chooser; ends on the preview."""
    page.get_by_role("link", name="Add data").first.click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files(file)
    page.wait_for_url("**/datasets/new/upl_*")


def import_it(page: Page) -> None:
    """From the preview; ends on the dataset's page with the import ready."""
    page.get_by_role("button", name="Import", exact=True).click()
    page.wait_for_url("**/datasets/dst_*")
    expect(page.get_by_text(re.compile("(rows|images) are ready"))).to_be_visible(timeout=60_000)


def rows_of(page: Page, file: Path) -> Page:
    """From the project's page; ends on the rows' page of a dataset made of a file."""
    upload(page, file)
    import_it(page)
    page.goto(page.url.partition("?")[0] + "/rows")
    return page


def labels(page: Page, row: int) -> Locator:
    """The labels that a row shows as its own."""
    return page.locator(f'[data-row="{row}"] [data-labels] .tag')
