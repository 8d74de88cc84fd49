"""Bringing data in by the pages when things go wrong, and correcting it afterwards."""

from pathlib import Path

from playwright.sync_api import Page, Route, expect

from tests.browser import driving
from tests.fetch.far import far_end, ok

PIECE = 16 * 2**20


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


def test_an_upload_is_paused_and_goes_on_by_itself_when_the_network_is_back(project: Page, tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text("text,label\n" + "the parcel came late and the box was open,bad\n" * 500_000)
    project.get_by_role("link", name="Add data").first.click()
    held: list[Route] = []

    def hold_the_second_piece(route: Route) -> None:
        if route.request.method == "PATCH" and int(route.request.headers["upload-offset"]):
            held.append(route)
        else:
            route.continue_()

    project.route("**/api/v1/uploads/*", hold_the_second_piece)
    choose(project, file)
    with project.expect_request(lambda request: request.headers.get("upload-offset") == str(PIECE)):
        pass
    project.get_by_role("button", name="Pause").click()
    expect(project.get_by_text("Paused.")).to_be_visible()
    with project.expect_request(lambda request: request.headers.get("upload-offset") == str(PIECE)):
        project.get_by_role("button", name="Go on").click()
    project.context.set_offline(True)
    held[-1].abort()
    expect(project.get_by_text("The connection is gone.")).to_be_visible()
    project.unroute("**/api/v1/uploads/*")
    project.context.set_offline(False)
    project.wait_for_url("**/datasets/new/upl_*")


def test_several_files_and_an_address_and_rows_added_later(project: Page, tmp_path: Path) -> None:
    lines = [f"a {'fine' if n % 2 else 'bad'} day number {n},{'good' if n % 2 else 'bad'}\n" for n in range(60)]
    parts = [tmp_path / "days 1.csv", tmp_path / "days 2.csv"]
    for part, some in zip(parts, (lines[:30], lines[30:]), strict=True):
        part.write_text("text,label\n" + "".join(some))
    project.get_by_role("link", name="Add data").first.click()
    project.locator("input[type=file]").set_input_files(parts)
    project.wait_for_url("**/datasets/new/upl_*,upl_*")
    expect(project.get_by_text("These 2 files become one dataset")).to_be_visible()
    driving.import_it(project)
    expect(project.get_by_text("60 rows are ready")).to_be_visible()

    project.get_by_role("link", name="Add rows").click()
    choose(project, parts[0])
    project.wait_for_url("**/append/upl_*")
    project.get_by_role("button", name="Add the rows").click()
    expect(project.get_by_text("90 rows are ready")).to_be_visible(timeout=60_000)

    with far_end(ok("".join(lines).encode())) as far:
        project.get_by_role("link", name="Data", exact=True).first.click()
        project.get_by_role("link", name="Add data").first.click()
        project.get_by_text("Import from an address").click()
        project.get_by_label("Address").fill("http://127.0.0.1/days.csv")
        project.get_by_role("button", name="Fetch", exact=True).click()
        expect(project.get_by_role("alert").filter(has_text="public internet")).to_be_visible()
        project.get_by_label("Address").fill(f"{far.url}/days.csv")
        project.get_by_role("button", name="Fetch", exact=True).click()
        project.wait_for_url("**/datasets/new/upl_*")
        expect(project.get_by_role("cell", name="a fine day number 1", exact=True)).to_be_visible(timeout=30_000)
        driving.import_it(project)
        expect(project.get_by_text("60 rows are ready")).to_be_visible(timeout=60_000)


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
    project.locator("[data-row] [data-labels] .tag").first.click()
    project.get_by_role("dialog").get_by_role("button", name="good").click()
    project.get_by_role("button", name="Save as version 2").click()
    expect(project.locator(".bars").first).to_contain_text("31", timeout=60_000)
    expect(project.get_by_role("button", name="Version 2", exact=True)).to_be_visible()
    expect(project.get_by_text("60 rows are ready")).to_be_visible()


def test_data_is_repaired_corrected_compared_and_taken_back(project: Page, tmp_path: Path) -> None:
    lines = ["text,label"] + [f"a fine day number {n},good" for n in range(15)]
    lines += [f"a <b>bad</b> day number {n},bad" for n in range(15)] + ["write to me@mail.example.org,Good"]
    file = tmp_path / "days.csv"
    file.write_text("\n".join(lines) + "\n")
    driving.upload(project, file)
    project.get_by_role("button", name="Import", exact=True).click()
    expect(project.get_by_text("31 rows are ready")).to_be_visible(timeout=60_000)

    # Seen before it is done.
    issue = project.locator(".issue-line", has_text="e-mail addresses")
    issue.get_by_role("link", name="Repair").click()
    expect(project.get_by_text("1 text will change.")).to_be_visible()
    expect(project.locator(".change-table tbody tr")).to_contain_text("write to [email]")
    project.get_by_role("button", name="Make version 2").click()
    expect(project.get_by_text("31 rows are ready")).to_be_visible(timeout=60_000)
    expect(project.locator(".issue-line", has_text="e-mail addresses")).to_have_count(0)
    expect(project.locator("#versions")).to_contain_text("Mask personal data · 1 text changed")

    # A finding without a repair that was pressed stays, and leads to its rows.
    project.get_by_text("good to know").click()
    markup = project.locator(".issue-line", has_text="Texts hold HTML")
    markup.locator("summary").click()
    with project.expect_navigation():
        markup.get_by_role("link", name="Show these rows").click()
    expect(project.locator("#rows-list")).to_contain_text("15 rows")
    project.go_back()

    address = project.url.partition("?")[0]
    csrf = {"X-CSRFToken": next(one["value"] for one in project.context.cookies() if "csrf" in one["name"])}
    rows = address.replace("/datasets/", "/api/v1/datasets/") + "/rows"
    body = {"changes": [{"row": 0, "label": "bad"}, {"row": 1, "drop": True}]}
    assert project.request.patch(rows, data=body, headers={**csrf, "Referer": address}).status == 202
    project.goto(f"{address}?version=3")
    expect(project.get_by_text("30 rows are ready")).to_be_visible(timeout=60_000)

    project.locator("#versions li").first.get_by_role("link", name="What changed").click()
    tabs = project.get_by_role("navigation", name="Kinds of change")
    expect(tabs).to_contain_text("Removed 1")
    tabs.get_by_role("link", name="Other label 1").click()
    expect(project.locator(".change-table tbody td").nth(1)).to_contain_text("good")
    expect(project.locator(".change-table tbody td").nth(2)).to_contain_text("bad")
    project.get_by_label("From").select_option("1")
    expect(tabs).to_contain_text("Other text 1")

    project.goto(f"{address}?version=1")
    project.get_by_role("button", name="Make it the newest").click()
    expect(project.locator("#versions")).to_contain_text("v4 · Restored of v1")
    expect(project.get_by_text("31 rows are ready")).to_be_visible()

    project.get_by_role("link", name="Dataset settings").click()
    project.get_by_label("Name").fill("Days of the year")
    project.get_by_role("button", name="Save").click()
    expect(project.get_by_role("heading", name="Days of the year")).to_be_visible()
    project.get_by_role("link", name="Dataset settings").click()
    project.once("dialog", lambda dialog: dialog.accept())
    project.get_by_role("button", name="Move to the trash").click()
    project.get_by_role("link", name="1 dataset in the trash").click()
    project.get_by_role("button", name="Take back").click()
    expect(project.get_by_role("heading", name="Days of the year")).to_be_visible()
