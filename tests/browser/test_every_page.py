"""Every page that the resolver knows, opened with hostile names everywhere: nothing runs, breaks or is cut off."""

import io
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from django.conf import settings
from playwright.sync_api import Page

from apps.core.artifacts import storage
from apps.datasets.models import DatasetVersion
from tests.access.routes import fill, routes
from tests.cast import Belongings, make_belongings, make_user

HOSTILE = "\"'><img src=x onerror=window.__xss=1>{{7*7}}"


@pytest.fixture
def ours(transactional_db: None, redis_url: str) -> Belongings:
    """One of everything, with a name that would run if any page took it for HTML."""
    found = make_belongings(make_user("alice", name=HOSTILE), HOSTILE)
    _store_rows(found.version)
    return found


def _store_rows(version: DatasetVersion) -> None:
    labels = sorted(version.classes)
    count = version.rows
    table = pl.DataFrame(
        {
            "row": range(count),
            "split": ["train"] * (count - 4) + ["validation"] * 2 + ["test"] * 2,
            "hash": [f"{row:032x}" for row in range(count)],
            "text": [f"{HOSTILE} {row}" for row in range(count)],
            "label": [labels[row % len(labels)] for row in range(count)],
        }
    )
    data = io.BytesIO()
    table.write_parquet(data)
    storage().put_bytes(data.getvalue(), version.data_key)


@pytest.fixture
def signed_in(ours: Belongings, live_server: Any, page: Page, browser_of: Any) -> Iterator[Page]:
    """The page of a browser in which the owner is signed in."""
    client = browser_of(ours.team.memberships.get(role="owner").user)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": live_server.url}])
    yield page


def pages(ours: Belongings) -> list[str]:
    """Addresses of all pages that can be opened by a link."""
    arguments = {
        "team_id": ours.team.pk,
        "project_id": ours.project.pk,
        "dataset_id": ours.dataset.pk,
        "job_id": ours.job.pk,
        "model_id": ours.model.pk,
        "endpoint_id": ours.endpoint.pk,
        "key_id": ours.key.pk,
    }
    found = []
    for route in routes():
        skipped = ("api/", "accounts/", "healthz", "readyz", "static")
        if route.is_api or route.path.startswith(skipped) or route.path.endswith(("/rows", ".csv")):
            continue
        try:
            found.append(fill(route.path, arguments))
        except KeyError:
            continue  # it needs a thing that the team does not have: an upload, an open invitation
    return [path for path in found if not path.endswith(_ACTIONS)] + _ACCOUNT


# Of the pages that allauth brings, those of a signed-in user.
_ACCOUNT = ["/accounts/email/", "/accounts/password/change/", "/accounts/2fa/"]
# Addresses that only take a POST, or answer a script.
_ACTIONS = ("/cancel", "/retry", "/deploy", "/rollback", "/delete", "/archive", "/restore", "/revoke", "/comments")
_ACTIONS += ("/milestones", "/try", "/promote", "/put-into-trash", "/untrash", "/matching", "/rows/labels")


def test_names_are_text_on_every_page(ours: Belongings, signed_in: Page, live_server: Any) -> None:
    opened = [path for path in pages(ours) if _opens(signed_in, live_server.url + path)]
    assert len(opened) > 20


def _opens(page: Page, url: str) -> bool:
    answer = page.goto(url, wait_until="load")
    assert answer is not None and answer.status == 200, f"{url} answers {answer.status if answer else 'nothing'}"
    assert page.evaluate("window.__xss") is None, f"{url} runs what a name says"
    assert page.locator("h1").count() == 1, f"{url} has not one main heading"
    assert not page.locator("img[src='x']").count(), f"{url} takes a name for HTML"
    return True


def test_every_page_fits_a_phone(ours: Belongings, signed_in: Page, live_server: Any) -> None:
    signed_in.set_viewport_size({"width": 390, "height": 844})
    wide = []
    for path in pages(ours):
        signed_in.goto(live_server.url + path, wait_until="load")
        beyond = signed_in.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if beyond > 0:
            wide.append(f"{path}: {beyond} px")
    assert not wide, "pages wider than a phone: " + ", ".join(wide)


def test_every_control_has_a_name(ours: Belongings, signed_in: Page, live_server: Any) -> None:
    nameless = []
    for path in pages(ours):
        signed_in.goto(live_server.url + path, wait_until="load")
        nameless += [f"{path}: {html}" for html in signed_in.evaluate(_NAMELESS)]
    assert not nameless, "\n".join(nameless)


_NAMELESS = """() => [...document.querySelectorAll("a, button, input:not([type=hidden]), select, textarea")]
  .filter((one) => one.checkVisibility() && !(one.textContent.trim() || one.labels?.length
    || one.getAttribute("aria-label") || one.getAttribute("title") || one.querySelector("img[alt]:not([alt=''])")))
  .map((one) => one.outerHTML.slice(0, 160))"""
