"""Pictures of a running Slipway, for looking at and for the README:

    python -m tests.browser.shots SLIPWAY_HOME OUT [--data FOLDER]

signs in with the home's demo.json, makes a project worth seeing where there is none (imports sms.csv, trains, deploys,
predicts), and writes every page as OUT/<page>-<width>-<theme>.png. OUT/dashboard-light.png and -dark.png are those of
the README (docs/) and of the landing page (static/img/).
"""

import argparse
import datetime
import json
import re
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import driving
from tests.journey.client import Client, Predictor

SIZES = {1440: 900, 390: 844}
THEMES = ("light", "dark")
PROJECT = "Message triage"
BRIEF = """Sort incoming messages before they reach the support inbox.

A lost customer message costs more than one spam message read, so precision on spam comes first."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="the folder that holds sms.csv")
    arguments = parser.parse_args()
    demo = json.loads((arguments.home / "demo.json").read_text())
    client = Client(demo["url"], demo["predict_url"], demo["token"])
    project = next((one["id"] for one in client.get("/projects")["results"] if one["name"] == PROJECT), None)
    fresh = project is None
    if project is None:
        project = furnish(client, demo, arguments.data / "sms.csv")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=driving.flags())
        if fresh:
            talk(browser, demo, project)
        for theme in THEMES:
            for width, height in SIZES.items():
                shoot(browser, demo, project, arguments.out, theme, (width, height))
        browser.close()
    for theme in THEMES:
        small_picture(arguments.out / f"project-1440-{theme}.png", arguments.out / f"dashboard-{theme}.png")


def furnish(client: Client, demo: dict[str, Any], file: Path) -> str:
    """A project that has gone all the way; its id."""
    team = client.get("/me")["teams"][0]["id"]
    project = str(client.post("/projects", 201, {"name": PROJECT, "team": team, "brief": BRIEF})["id"])
    dataset = client.upload(project, "SMS messages", "text", file)
    client.imported(dataset)
    job = client.train(project, dataset, "text-classification", preset="fast", name="Spam filter")
    endpoint = client.deploy(project, "Inbox", client.trained(job)["model"])
    predictor = Predictor(demo["predict_url"], endpoint["slug"], client.key(team, "inbox service")["key"])
    predictor.ready(json={"inputs": ["You have won a prize, call now"]})
    for count in range(60):
        predictor.predict(["See you at eight", "Free entry in a weekly competition"][: 1 + count % 2])
    return project


def talk(browser: Browser, demo: dict[str, Any], project: str) -> None:
    """Milestones and a comment, as a member would leave them."""
    page = browser.new_page()
    driving.sign_in(page, demo["url"], demo["email"], demo["password"])
    page.goto(f"{demo['url']}/projects/{project}")
    today = datetime.date.today()
    for title, days in {"First model answers": 0, "Beta with ten customers": 12, "In front of every inbox": 40}.items():
        page.get_by_role("button", name="Add a milestone").click()
        page.get_by_label("Title").fill(title)
        page.get_by_label("Due").fill((today + datetime.timedelta(days)).isoformat())
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator(".milestone").filter(has_text=title)).to_be_visible()
    page.get_by_role("button", name="Mark “First model answers” as reached").click()
    expect(page.locator(".milestone.done")).to_be_visible()
    page.get_by_label("Comment").fill("Half of the complaints are about parcels now. Shall we add a third class?")
    page.get_by_role("button", name="Comment", exact=True).click()
    expect(page.locator(".comments")).to_be_visible()
    page.close()


def shoot(browser: Browser, demo: dict[str, Any], project: str, out: Path, theme: str, size: tuple[int, int]) -> None:
    """All pages in one size and theme."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, reduced_motion="reduce"
    )
    page = context.new_page()
    for name, address in {"landing": "/", "sign-up": "/accounts/signup/", "sign-in": "/accounts/login/"}.items():
        _save(page, demo["url"] + address, out / f"{name}-{size[0]}-{theme}.png")
    driving.sign_in(page, demo["url"], demo["email"], demo["password"])
    team = re.search(r"/teams/(\w+)", page.url)
    assert team
    for name, address in addresses(page, demo["url"], team.group(1), project).items():
        _save(page, demo["url"] + address, out / f"{name}-{size[0]}-{theme}.png")
    context.close()


def addresses(page: Page, url: str, team: str, project: str) -> dict[str, str]:
    """The pages to look at: fixed ones, and those that the project's pages link to."""
    found = {"home": f"/teams/{team}", "project": f"/projects/{project}"}
    for part in ("usage", "keys", "members", "audit", "settings"):
        found[f"team-{part}"] = f"/teams/{team}/{part}"
    for part in ("datasets", "datasets/new", "templates", "jobs", "models", "endpoints", "usage"):
        found[part.replace("/", "-")] = f"/projects/{project}/{part}"
    page.goto(f"{url}/projects/{project}")
    kinds = {"dataset": "dst", "job": "job", "model": "mdl", "endpoint": "end"}
    links = page.eval_on_selector_all("a[href]", "links => links.map((link) => link.getAttribute('href'))")
    for name, prefix in kinds.items():
        link = next((one for one in links if re.search(rf"/{prefix}_\w+$", one)), None)
        if link:
            found[name] = link
    if "dataset" in found:
        found["job-new"] = f"/projects/{project}/jobs/new?dataset={found['dataset'].rsplit('/', 1)[-1]}"
    return found | {"account": "/account", "tokens": "/account/tokens", "two-factor": "/accounts/2fa/"}


def _save(page: Page, url: str, path: Path) -> None:
    page.goto(url, wait_until="load")
    expect(page.locator(".htmx-request")).to_have_count(0)
    page.evaluate("document.fonts.ready")
    # A canvas is drawn in the frame after its script ran.
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.screenshot(path=path, full_page=True, animations="disabled")


def small_picture(source: Path, target: Path, most_bytes: int = 300_000) -> None:
    """The upper part of a page, small enough for a repository."""
    with Image.open(source) as picture:
        upper = picture.convert("RGB").crop((0, 0, picture.width, min(picture.height, SIZES[1440])))
    upper.quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)
    assert target.stat().st_size < most_bytes, f"{target} is too large for the README"


if __name__ == "__main__":
    main()
