"""A model on trial, as its card shows it: begun by the form, judged by its copies, taken back by itself."""

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.batch.registering import register
from tests.browser import driving
from tests.journey.client import Client, Predictor
from tests.serving import bundles
from tests.stack import Stack

MINUTE = 60_000


def test_a_candidate_that_gets_only_copies_is_watched_and_taken_back(stack: Stack, page: Page, tmp_path: Path) -> None:
    client = Client(stack.url, stack.predict_url, stack.token)
    project = str(client.post("/projects", 201, {"name": "On trial"})["id"])
    bundle = bundles.text_bundle(tmp_path / "text.zip")
    first, _ = (register(stack.home, project, bundle) for _ in range(2))
    endpoint = client.deploy(project, "Moods", first)
    team = client.get("/me")["teams"][0]["id"]
    predictor = Predictor(stack.predict_url, endpoint["slug"], client.key(team, "trial")["key"])
    predictor.ready(json={"inputs": ["good film"]})

    driving.sign_in(page, stack.url, stack.email, stack.password)
    page.goto(f"{stack.url}/endpoints/{endpoint['id']}")
    form = page.locator("#deploy")
    form.get_by_label("Share of traffic").fill("0")
    form.get_by_text("Watch it").click()
    form.get_by_label("Copies of requests").fill("100")
    form.get_by_label("p99 above, ms").fill("0.001")
    form.get_by_label("Over answers").fill("20")
    form.get_by_role("button", name="Deploy").click()
    card = page.locator("[data-rollout]")
    expect(card).to_contain_text("On trial: #2")
    expect(card).to_contain_text("it answers only who asks for it")
    expect(card).to_contain_text("none compared yet")
    expect(card.get_by_role("button", name="Promote")).to_be_enabled(timeout=MINUTE)

    for _ in range(5):
        predictor.predict(["good film"])
    expect(card.locator("[data-copies]")).to_contain_text("the same answer, of 5 inputs", timeout=MINUTE)
    expect(card).to_contain_text("the rule counts here, too")
    for _ in range(20):
        predictor.predict(["bad film"])
    taken_back = page.locator("[data-taken-back]")
    expect(taken_back).to_contain_text("Slipway took #2", timeout=MINUTE)
    expect(taken_back).to_contain_text("Computing its last 20 copies took up to")
    expect(card).to_have_count(0)
