"""What a page says to somebody who pressed a button at a bad moment."""

from typing import Any

import pytest

from apps.datasets.models import DatasetVersion
from tests.cast import Belongings, make_belongings, make_user

HOST = "http://testserver"


@pytest.fixture
def ours(db: None, redis_url: str) -> Belongings:
    """Alice's things, with a newer version of the dataset under way."""
    found = make_belongings(make_user("alice"), "Moods")
    version = found.version
    DatasetVersion.objects.create(
        dataset=version.dataset, number=version.number + 1, state=DatasetVersion.State.PROCESSING
    )
    return found


@pytest.fixture
def client(ours: Belongings, browser_of: Any) -> Any:
    """Alice's browser."""
    return browser_of(ours.team.memberships.get(role="owner").user)


def test_a_button_that_comes_too_early_leads_back_with_the_reason(ours: Belongings, client: Any) -> None:
    page = f"{HOST}/datasets/{ours.dataset.pk}?version={ours.version.number}"
    pressed = client.post(f"/datasets/{ours.dataset.pk}/restore/1", HTTP_REFERER=page)
    assert (pressed.status_code, pressed["Location"]) == (303, page)
    assert "A newer version is being made." in client.get(page).text


@pytest.mark.parametrize("referer", ["", "https://evil.test/", "//evil.test/", "javascript:alert(1)"])
def test_nobody_is_led_elsewhere(ours: Belongings, client: Any, referer: str) -> None:
    pressed = client.post(f"/datasets/{ours.dataset.pk}/restore/1", HTTP_REFERER=referer)
    assert pressed.status_code == 409
    assert "evil" not in pressed.text and "javascript" not in pressed.text


def test_an_error_page_leads_back_to_where_one_was(ours: Belongings, client: Any) -> None:
    page = f"{HOST}/datasets/{ours.dataset.pk}"
    lost = client.get("/projects/prj_nowhere", HTTP_REFERER=page)
    assert lost.status_code == 404 and f'href="{page}"' in lost.text
    assert (
        f'href="{HOST}/projects/prj_nowhere"'
        not in client.get("/projects/prj_nowhere", HTTP_REFERER=f"{HOST}/projects/prj_nowhere").text
    )


def test_the_rows_of_a_version_under_way_are_its_page(ours: Belongings, client: Any) -> None:
    reply = client.get(f"/datasets/{ours.dataset.pk}/rows")
    assert reply.status_code == 303
    assert reply["Location"] == f"/datasets/{ours.dataset.pk}?version={ours.version.number + 1}"


def test_who_tries_an_endpoint_with_nothing_is_told_so_in_plain_words(ours: Belongings, client: Any) -> None:
    answer = client.post(f"/endpoints/{ours.endpoint.pk}/try", {"text": ""})
    assert "note-bad" in answer.text and "params" not in answer.text
