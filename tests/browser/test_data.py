"""Bringing data in by the pages when things go wrong, and correcting it afterwards."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser import driving
from tests.stack import Stack

PIECE = 16 * 2**20


@pytest.fixture
def project(stack: Stack, page: Page) -> Page:
    """A signed-in browser on the page of a fresh project."""
    driving.sign_in(page, stack.url, stack.email, stack.password)
    driving.create_project(page, "Tickets")
    return page


def choose(page: Page, file: Path) -> None:
    page.locator("input[type=file]").set_input_files(file)


def test_a_file_that_is_too_large_is_refused_before_anything_is_sent(project: Page, tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    file.write_text("text,label\n" + "a fine day,good\n" * 100)
    project.get_by_role("link", name="Add data").first.click()
    sent: list[str] = []
    project.on("request", lambda request: sent.append(request.url) if "/uploads" in request.url else None)
    # The limit that the page knows, lowered: a file beyond the real one would fill the disk.
    project.locator("[data-max]").evaluate("element => { element.dataset.max = '1000' }")
    choose(project, file)
    expect(project.get_by_role("alert")).to_contain_text("larger than allowed: 1.6 KB > 1.0 KB")
    assert sent == []


def test_an_upload_goes_on_where_a_broken_line_stopped_it(project: Page, tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text("text,label\n" + "the parcel came late and the box was open,bad\n" * 900_000)
    project.get_by_role("link", name="Add data").first.click()
    offsets: list[int] = []

    def cut_after_the_first_piece(route: Route) -> None:
        if route.request.method != "PATCH" or int(route.request.headers["upload-offset"]) == 0:
            route.continue_()
        else:
            route.abort()

    project.route("**/api/v1/uploads/*", cut_after_the_first_piece)
    choose(project, file)
    expect(project.get_by_text("%", exact=False).locator("visible=true").first).to_be_visible()
    with project.expect_event("requestfailed"):
        pass
    project.reload()
    project.unroute("**/api/v1/uploads/*")
    project.on(
        "request",
        lambda request: offsets.append(int(request.headers["upload-offset"])) if request.method == "PATCH" else None,
    )
    choose(project, file)
    project.wait_for_url("**/datasets/new/upl_*")
    assert offsets[0] == PIECE


def test_bad_rows_are_shown_and_a_label_is_corrected(project: Page, tmp_path: Path) -> None:
    lines = ["text,label"] + [f"a fine day number {n},good" for n in range(30)]
    lines += [f"a bad day number {n},bad" for n in range(30)] + [",good", "no label at all,"]
    file = tmp_path / "days.csv"
    file.write_text("\n".join(lines) + "\n")
    driving.upload(project, file)
    project.get_by_role("button", name="Import", exact=True).click()
    expect(project.get_by_text("60 rows are ready")).to_be_visible(timeout=60_000)
    expect(project.get_by_text("2 were left out")).to_be_visible()
    issues = project.locator(".issue")
    expect(issues.filter(has_text="The text is empty")).to_contain_text("line 62")
    with project.expect_download() as download:
        project.get_by_role("link", name="Rejected rows").click()
    assert "label_missing" in Path(download.value.path()).read_text("utf-8")

    project.get_by_label("Class").select_option("bad")
    expect(project.locator("#rows-list tbody tr")).to_have_count(30)
    project.once("dialog", lambda dialog: dialog.accept())
    project.get_by_label("Label of row").first.select_option("good")
    expect(project.get_by_role("button", name="Version 2")).to_be_visible()
    expect(project.get_by_text("60 rows are ready")).to_be_visible(timeout=60_000)
    expect(project.locator(".bars").first).to_contain_text("31")
