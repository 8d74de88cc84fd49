"""Inputs to try an endpoint with, taken from the test rows of the data that its model was made of."""

import json
from collections.abc import Callable
from typing import Any

from django.core.cache import cache
from django.urls import reverse

from apps.datasets import browse
from apps.datasets.models import DatasetVersion
from apps.endpoints.models import Endpoint
from workers.contracts.errors import SlipwayError

_HOW_MANY = {"text": 3, "image": 6, "recommendation": 4, "tabular": 4}
# A version never changes; the limit only keeps the cache from growing.
_KEPT_S = 86_400
_SPREAD = 200


def suggestions(endpoint: Endpoint) -> list[str]:
    """Texts, users, rows or pairs of texts in JSON, or addresses of images; empty where there is no data left to take
    them from."""
    model = endpoint.answering_model
    if model is None:
        return []
    if endpoint.kind == "tabular":
        names = [column["name"] for column in columns(endpoint)]
        rows = [json.loads(row) for row in _stored(model.dataset_version, endpoint.kind)]
        return [json.dumps({name: row.get(name, "") for name in names}, ensure_ascii=False) for row in rows]
    return _stored(model.dataset_version, endpoint.kind)


def columns(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The columns that a table's model takes: name, type, an example and frequent values; [] for other kinds."""
    model = endpoint.answering_model
    if model is None or endpoint.kind != "tabular":
        return []
    schema = model.manifest["input_schema"]
    example: dict[str, Any] = next(iter(schema.get("examples", [])), {})
    # In the order of the file: objects lose theirs in the database.
    names = [column["name"] for column in model.manifest["preprocessing"]["columns"]]
    about = {name: schema["properties"][name] for name in names}
    return [
        {"name": name, "type": one["description"], "example": example.get(name, ""), "values": one.get("examples")}
        for name, one in about.items()
    ]


def takes_pairs(endpoint: Endpoint) -> bool:
    """Whether the endpoint's model takes two texts."""
    model = endpoint.answering_model
    return model is not None and model.takes_pairs


def _stored(version: DatasetVersion, kind: str) -> list[str]:
    key = f"endpoint-examples:{version.pk}"
    found: list[str] | None = cache.get(key)
    if found is None:
        try:
            found = _suggestions(version, kind)
        except SlipwayError:
            return []  # the endpoint answers without its data, and so does its page
        cache.set(key, found, _KEPT_S)
    return found


def example_input(endpoint: Endpoint) -> str:
    """One text, pair, user or row for the code snippets; empty for images and where there is none."""
    return next(iter(suggestions(endpoint)), "") if endpoint.kind != "image" else ""


def _suggestions(version: DatasetVersion, kind: str) -> list[str]:
    rows = _rows(version, kind, "test") or _rows(version, kind, "")
    if kind == "image":
        url = reverse("datasets-api:row-image", args=[version.dataset_id, 0]).removesuffix("0/image")
        return [f"{url}{row['row']}/image?version={version.number}&size=full" for row in rows]
    return [_SHOWN[kind](row) for row in rows]


def _texts(row: dict[str, Any]) -> str:
    return json.dumps({name: row[name] for name in ("text", "text_pair")}, ensure_ascii=False)


# An example out of a row of data, by kind.
_SHOWN: dict[str, Callable[[dict[str, Any]], str]] = {
    "text": lambda row: _texts(row) if "text_pair" in row else str(row["text"]),
    "recommendation": lambda row: str(row["user"]),
    "tabular": lambda row: json.dumps(row["values"], ensure_ascii=False),
}


def _rows(version: DatasetVersion, kind: str, split: str) -> list[dict[str, Any]]:
    """A few rows that differ in label, or in user, so that the answers differ too."""
    many = _HOW_MANY[kind]
    if kind == "recommendation":
        rows = browse.page_rows(version, browse.Where(split=split), page_size=_SPREAD).rows
        return list({row["user"]: row for row in rows}.values())[:many]
    labels = list(version.classes)[:many]
    each = -(-many // max(1, len(labels)))
    found = [browse.page_rows(version, browse.Where(label=label, split=split), page_size=each).rows for label in labels]
    # A row with several labels is found by each.
    return list({row["row"]: row for rows in found for row in rows}.values())[:many]
