"""The pages of predicted files: what they refuse before anything runs, and what they say of a file that failed."""

import io
from typing import Any

import pytest

from apps.datasets.uploads import store_upload
from apps.predictions.forms import PredictionForm
from apps.predictions.models import Prediction
from apps.predictions.specs import batch_part
from apps.registry.models import ModelVersion
from apps.training.models import Job
from tests.batch.test_actions import create, spend
from tests.cast import Cast
from tests.datasets.test_options import chosen, hidden
from tests.ingest.importing import workbook
from workers.contracts.errors import JobError

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


def form(cast: Cast, found: dict[str, Any], **data: str) -> PredictionForm:
    model = ModelVersion.objects.get(pk=cast.ours.model.pk)
    return PredictionForm(data, model=model, found=found)


def looked(*columns: str, **guess: str) -> dict[str, Any]:
    listed = [{"name": name, "type": "text"} for name in columns]
    return {"columns": listed, "rows": [["1"] * len(columns)], "mapping_guesses": {"text": guess}}


def test_a_column_that_cannot_be_told_has_to_be_chosen(cast: Cast) -> None:
    unknown = form(cast, looked("a", "b"))
    assert list(unknown.errors) == ["role-text"]
    chosen = form(cast, looked("a", "b"), **{"role-text": "b"})
    assert chosen.is_valid() and chosen.cleaned_data["mapping"] == {"text": "b"}


@pytest.mark.parametrize("found", [looked("id", "message", text="message"), looked("anything")])
def test_a_column_that_can_be_told_may_be_left_open(cast: Cast, found: dict[str, Any]) -> None:
    left = form(cast, found)
    assert left.is_valid() and left.roles()[0].initial == found["columns"][-1]["name"]


def test_a_file_with_a_header_alone_is_refused_at_once(cast: Cast, browser_of: Any) -> None:
    content = b"id,text\n"
    team = cast.ours.team
    upload = store_upload(actor=cast.bob, team=team, filename="rows.csv", stream=io.BytesIO(content), size=len(content))
    page = browser_of(cast.bob).get(f"/models/{cast.ours.model.pk}/predict/{upload.pk}")
    assert page.status_code == 422 and "The file holds no rows." in page.text


@pytest.mark.parametrize(("code", "again"), [("column_missing", False), ("job_crashed", True)])
def test_a_file_at_fault_is_not_tried_again(cast: Cast, browser_of: Any, code: str, again: bool) -> None:
    made: Prediction = create(cast)
    failed = {"state": Job.State.FAILED, "error": JobError(code).card().model_dump()}
    Job.objects.filter(pk=made.job_id).update(**failed)
    page = browser_of(cast.bob).get(f"/predictions/{made.pk}").text
    assert ("Try again" in page, "Predict another file" in page) == (again, not again)
    assert "Every row answered by" not in page


def test_the_sheet_and_the_line_that_names_the_columns_can_be_chosen(cast: Cast, browser_of: Any) -> None:
    book = workbook(("Notes", [["who", "what"], ["Ann", "asked"]]), ("Data", [["id", "text"], [1, "a good film"]]))
    team = cast.ours.team
    upload = store_upload(actor=cast.bob, team=team, filename="rows.xlsx", stream=io.BytesIO(book), size=len(book))
    address = f"/models/{cast.ours.model.pk}/predict/{upload.pk}"
    browser = browser_of(cast.bob)
    assert "Ann" in browser.get(address).text
    body = browser.get(address, {"sheet": "Data", "names": "none"}).text
    assert chosen(body, "sheet") == "Data" and chosen(body, "names") == "None: the first row is data"
    body = browser.get(address, {"sheet": "Data"}).text
    assert "a good film" in body and "Ann" not in body
    reply = browser.post(address, {"role-text": "text", **hidden(body)})
    made = Prediction.objects.get(job__name="rows.xlsx")
    assert reply.status_code == 303 and made.options["sheet"] == "Data"
    assert batch_part(made)[1].options.sheet == "Data"


def test_no_file_is_asked_for_where_the_month_is_used_up(cast: Cast, browser_of: Any) -> None:
    address = f"/models/{cast.ours.model.pk}/predict"
    assert "Choose a file" in browser_of(cast.bob).get(address).text
    spend(cast, 10, of=10)
    page = browser_of(cast.bob).get(address)
    assert page.status_code == 429 and "used up" in page.text and "Choose a file" not in page.text
