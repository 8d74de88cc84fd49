"""Inputs to try an endpoint with, taken from the test rows of the data that its model was made of."""

from typing import Any

from django.core.cache import cache
from django.urls import reverse

from apps.datasets import browse
from apps.datasets.models import DatasetVersion
from apps.endpoints.models import Endpoint

_HOW_MANY = {"text": 3, "image": 6, "recommendation": 4}
# A version never changes; the limit only keeps the cache from growing.
_KEPT_S = 86_400
_SPREAD = 200


def suggestions(endpoint: Endpoint) -> list[str]:
    """Texts, users, or addresses of images; empty where there is no data left to take them from."""
    revision = endpoint.revisions.select_related("model__dataset_version").order_by("-traffic", "-number").first()
    if revision is None:
        return []
    version = revision.model.dataset_version
    key = f"endpoint-examples:{version.pk}"
    found: list[str] | None = cache.get(key)
    if found is None:
        found = _suggestions(version, endpoint.kind)
        cache.set(key, found, _KEPT_S)
    return found


def example_input(endpoint: Endpoint) -> str:
    """One text or user for the code snippets; empty for images and where there is none."""
    return next(iter(suggestions(endpoint)), "") if endpoint.kind != "image" else ""


def _suggestions(version: DatasetVersion, kind: str) -> list[str]:
    rows = _rows(version, kind, "test") or _rows(version, kind, "")
    if kind == "image":
        url = reverse("datasets-api:row-image", args=[version.dataset_id, 0]).removesuffix("0/image")
        return [f"{url}{row['row']}/image?version={version.number}&size=full" for row in rows]
    return [str(row["text" if kind == "text" else "user"]) for row in rows]


def _rows(version: DatasetVersion, kind: str, split: str) -> list[dict[str, Any]]:
    """A few rows that differ in label, or in user, so that the answers differ too."""
    many = _HOW_MANY[kind]
    if kind == "recommendation":
        rows = browse.page_rows(version, split=split, page_size=_SPREAD).rows
        return list({row["user"]: row for row in rows}.values())[:many]
    labels = list(version.classes)[:many]
    each = -(-many // max(1, len(labels)))
    found = [browse.page_rows(version, label=label, split=split, page_size=each).rows for label in labels]
    return [row for rows in found for row in rows][:many]
