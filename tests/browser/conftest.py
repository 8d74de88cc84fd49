"""Where the tests of pages begin."""

import pytest
from playwright.sync_api import Page

from tests.browser import driving
from tests.stack import Stack


@pytest.fixture
def project(stack: Stack, page: Page) -> Page:
    """A signed-in browser on the page of a fresh project."""
    driving.sign_in(page, stack.url, stack.email, stack.password)
    driving.create_project(page, "Tickets")
    return page
