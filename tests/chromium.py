"""A real Chromium on real pages. A page that logs an error, throws, or breaks its security policy fails its test."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.browser.driving import PATIENCE_MS, flags

# What Chromium mentions of a refused form, and of a request that a test has cut off.
_NO_FAULT = ("status of 422", "net::ERR_FAILED")
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


# Not for the session: Playwright's synchronous API keeps an event loop running in our thread, in which no asynchronous
# test could run its own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The machine's Chromium. Skips where there is none; REQUIRE_BROWSER=1 makes that an error."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        message = "no Chromium on this machine (install one, or set CHROMIUM to its path)"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with pytest.MonkeyPatch.context() as environ, sync_playwright() as playwright:
        environ.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # the ORM takes that loop for async code
        browser = playwright.chromium.launch(executable_path=path, args=flags())
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page of a fresh profile, watched: whatever it complains of fails the test at its end."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(words in message.text for words in _NO_FAULT):
            complaints.append(f"{message.location.get('url', '')}: {message.text}")

    context.on("console", hear)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context.new_page()
    context.close()
    assert not complaints, "the browser complained:\n" + "\n".join(complaints)
