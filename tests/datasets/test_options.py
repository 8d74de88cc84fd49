"""How a file is read is shown before it is imported, and can be changed there and by the control API."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from rest_framework.test import APIClient

from apps.datasets.models import Dataset, DatasetVersion, Upload
from tests.cast import Cast
from tests.datasets.conftest import REVIEWS, stored
from tests.ingest.importing import as_csv, workbook

Imported = Callable[[DatasetVersion], DatasetVersion]
TITLED = b"Films of 2024\n\n" + REVIEWS
ROWS = [line.split(",") for line in REVIEWS.decode().splitlines()]
BOOK = workbook(("Notes", [["who", "what"], ["Ann", "asked"]]), ("Data", ROWS))


@pytest.fixture
def api(cast: Cast, api_of: Callable[..., APIClient]) -> APIClient:
    return api_of(cast.bob)


@pytest.fixture
def page(cast: Cast, client: Client) -> Client:
    client.force_login(cast.bob)
    return client


def address(cast: Cast, upload: Upload) -> str:
    return f"/projects/{cast.ours.project.pk}/datasets/new/{upload.pk}"


def chosen(body: str, name: str) -> str:
    """The option that a select shows."""
    (select,) = re.findall(rf'<select[^>]* name="{name}".*?</select>', body, re.S)
    (option,) = re.findall(r"<option[^>]* selected>(.*?)</option>", select)
    return html.unescape(option)


def hidden(body: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(header|first_line|sheet)" value="([^"]*)">', body))


def newest() -> DatasetVersion:
    return Dataset.objects.order_by("created").last().latest  # type: ignore[union-attr]


def test_the_page_says_which_line_names_the_columns_and_another_can_be_chosen(
    page: Client, cast: Cast, imported: Imported
) -> None:
    upload = stored(cast.bob, cast.ours.project, TITLED)
    body = page.get(address(cast, upload)).content.decode()
    assert chosen(body, "names") == "Line 3: text | label"
    assert "The line above the table is left out" in body and "a good film number 0" in body
    form = {"name": "Films", "kind": "text", "text-text": "text", "text-label": "label", **hidden(body)}
    assert page.post(address(cast, upload), form).status_code == 303
    assert (imported(newest()).rows, newest().rejected) == (40, 1)

    body = page.get(address(cast, upload), {"names": "4"}).content.decode()
    assert chosen(body, "names").startswith("Line 4: a good film number 0")
    assert hidden(body) == {"header": "true", "first_line": "4"}
    form = {"name": "F", "kind": "text", "text-text": "a good film number 0", "text-label": "good", **hidden(body)}
    assert page.post(address(cast, upload), form).status_code == 303
    assert imported(newest()).rows == 39
    body = page.get(address(cast, upload), {"names": "none"}).content.decode()
    assert chosen(body, "names") == "None: the first row is data" and "column_2" in body
    assert "No file was imported" not in body and page.get(address(cast, upload), {"names": "900"}).status_code == 422


def test_the_page_lets_choose_a_sheet(page: Client, cast: Cast, imported: Imported) -> None:
    upload = stored(cast.bob, cast.ours.project, BOOK, "films.xlsx")
    body = page.get(address(cast, upload)).content.decode()
    assert chosen(body, "sheet") == "Notes" and "Ann" in body
    body = page.get(address(cast, upload), {"sheet": "Data", "names": ""}).content.decode()
    assert chosen(body, "sheet") == "Data" and "a good film number 0" in body
    form = {"name": "Films", "kind": "text", "text-text": "text", "text-label": "label", **hidden(body)}
    assert page.post(address(cast, upload), form).status_code == 303
    version = imported(newest())
    assert (version.rows, version.profile["sheet"]) == (40, "Data")

    append = f"/datasets/{version.dataset_id}/append/{stored(cast.bob, cast.ours.project, BOOK, 'films.xlsx').pk}"
    body = page.get(append, {"sheet": "Data"}).content.decode()
    assert chosen(body, "sheet") == "Data"
    assert page.post(append, hidden(body)).status_code == 303
    assert imported(version.dataset.latest).rows == 80


def test_the_page_asks_what_an_empty_cell_says_of_several_labels(page: Client, cast: Cast, imported: Imported) -> None:
    rows = [(f"film {n}", ("", "war", "war|drama", "drama", "drama|comedy", "comedy")[n % 6]) for n in range(60)]
    upload = stored(cast.bob, cast.ours.project, as_csv(rows).encode())
    body = page.get(address(cast, upload)).content.decode()
    assert "10 of the first rows have an empty cell" in body and 'name="text-empty_label"' in body
    form = {"name": "Films", "kind": "text", "text-text": "text", "text-label": "label", "text-label_separator": "|"}
    for ticked, count in (({}, 50), ({"text-empty_label": "on"}, 60)):
        assert page.post(address(cast, upload), {**form, **ticked}).status_code == 303
        assert imported(newest()).rows == count


def test_the_control_api_takes_the_same_options(api: APIClient, cast: Cast, imported: Imported) -> None:
    upload = stored(cast.bob, cast.ours.project, BOOK, "films.xlsx")
    look = f"/api/v1/uploads/{upload.pk}/preview"
    assert api.get(look).json()["sheets"] == ["Notes", "Data"]
    seen = api.get(look, {"sheet": "Data", "first_line": "2", "header": "false"}).json()
    assert (seen["sheet"], seen["first_line"], seen["header"]) == ("Data", 2, False)
    assert seen["rows"][0] == ["a good film number 0", "good"]
    for wrong in ({"first_line": "0"}, {"first_line": "x"}, {"header": "perhaps"}, {"sheet": "a\tb"}):
        assert api.get(look, wrong).json()["error"]["params"]["fields"][0]["field"] == next(iter(wrong))

    def create(**fields: Any) -> Any:
        body = {"project": cast.ours.project.pk, "name": "Films", "kind": "text", **fields}
        return api.post("/api/v1/datasets", body, format="multipart" if "file" in fields else "json")

    assert create(upload=upload.pk, sheet="Data").status_code == 202
    assert imported(newest()).rows == 40
    file = SimpleUploadedFile("films.csv", TITLED)
    reply = create(file=file, first_line=4, header="false", mapping='{"text": "column_1", "label": "column_2"}')
    assert reply.status_code == 202, reply.json()
    assert (imported(newest()).rows, newest().rejected) == (40, 2)
    assert create(upload=upload.pk, first_line=500).status_code == 422
