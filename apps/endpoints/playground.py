"""The playground: a person tries an endpoint in the browser, through the same hosted prediction API as every program.

It calls with an API key of its own, made for one user and one endpoint, short-lived and kept in the session on the
server; so what is tried is checked, metered and shown like any other request, and the browser never holds a key.
"""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import httpx
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.endpoints import actions
from apps.endpoints.models import Endpoint
from apps.teams.models import ApiKey, User
from workers.contracts.errors import InfraError, UserError

_LIFETIME = timedelta(hours=1)
# A new key has reached the prediction API within a second.
_PATIENCE_S = 3.0
# Explanations take longer than predictions: the API gives them twenty seconds.
_TIMEOUT_S = 25.0
MAX_IMAGE_BYTES = 10 * 2**20
# What the names of the fields of a row, or of a pair of texts, begin with; the column's name follows.
CELL = "cell-"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint said: its status, its body, and how long it took seen from here, in milliseconds."""

    status: int
    body: dict[str, Any]
    milliseconds: float

    @property
    def ok(self) -> bool:
        return self.status == 200


def text_input(text: str) -> str:
    """The input of a text endpoint. Raises UserError where there is none."""
    if not text.strip():
        raise UserError("invalid", _("Type a text first."))
    return text


def pair_input(text: str, second: str) -> dict[str, str]:
    """The input of an endpoint of pairs. Raises UserError where a text is missing."""
    if not text.strip() or not second.strip():
        raise UserError("invalid", _("Type both texts first."))
    return {"text": text, "text_pair": second}


def image_input(file: UploadedFile | None) -> dict[str, str]:
    """The input of an image endpoint. Raises UserError without a file or with one that is too large."""
    if file is None:
        raise UserError("invalid", _("Choose a photo first."))
    if (file.size or 0) > MAX_IMAGE_BYTES:
        raise UserError("payload_too_large", _("The photo is larger than 10 MB."))
    return {"image": base64.b64encode(file.read()).decode("ascii")}


def ranking_input(user: str, items: str, k: int) -> dict[str, Any]:
    """The input of a recommendation endpoint: a user, else a list of items. Raises UserError without either."""
    if user.strip():
        return {"user": user.strip(), "k": k}
    listed = [item.strip() for item in items.replace("\n", ",").split(",") if item.strip()]
    if not listed:
        raise UserError("invalid", _("Name a user, or some items."))
    return {"items": listed, "k": k}


def row_input(cells: dict[str, str]) -> dict[str, str]:
    """The input of a table's endpoint: the cells that were filled. Raises UserError where there is none."""
    row = {column: cell.strip() for column, cell in cells.items()}
    if not any(row.values()):
        raise UserError("invalid", _("Fill in at least one column."))
    return row


READ: Final[dict[str, Callable[[dict[str, Any], QueryDict], Any]]] = {
    "text": lambda asked, sent: (
        pair_input(str(sent.get(f"{CELL}text", "")), str(sent[f"{CELL}text_pair"]))
        if f"{CELL}text_pair" in sent
        else text_input(asked.get("text") or "")
    ),
    "image": lambda asked, _: image_input(asked.get("image")),
    "recommendation": lambda asked, _: ranking_input(
        asked.get("user") or "", asked.get("items") or "", asked.get("k") or 10
    ),
    "tabular": lambda _, sent: row_input(
        {name.removeprefix(CELL): str(sent[name]) for name in sent if name.startswith(CELL)}
    ),
}
"""By kind of endpoint: its input out of the form's fields, or out of what was sent."""


def ask(
    *,
    actor: User,
    session: SessionBase,
    endpoint: Endpoint,
    value: Any,
    explain: bool = False,
    candidate: bool = False,
) -> Answer:
    """Send one input to the endpoint, or to its candidate. Raises InfraError where the prediction API cannot be
    reached."""
    text = _key(actor, session, endpoint)
    body: dict[str, Any] = {"inputs": [value], "explain": True} if explain else {"inputs": [value]}
    headers = {"Authorization": f"Bearer {text}"} | ({"X-Slipway-Revision": "candidate"} if candidate else {})
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        answer = _post(endpoint, headers, body)
        waiting = answer.status == 401 or answer.body.get("error", {}).get("code") == "endpoint_not_ready"
        if not waiting or time.monotonic() > deadline:
            return answer
        time.sleep(0.2)


def _post(endpoint: Endpoint, headers: dict[str, str], body: dict[str, Any]) -> Answer:
    url = f"{settings.SLIPWAY_PREDICT_URL}/v1/endpoints/{endpoint.slug}/predict"
    started = time.perf_counter()
    try:
        with httpx.Client(timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
            reply = client.post(url, json=body, headers=headers)
        found = reply.json()
    except (httpx.HTTPError, ValueError):
        raise InfraError("unavailable", _("The prediction API cannot be reached just now.")) from None
    return Answer(reply.status_code, found, 1000 * (time.perf_counter() - started))


def _key(actor: User, session: SessionBase, endpoint: Endpoint) -> str:
    """The playground's key of this user for this endpoint, made when there is none that still holds."""
    slot = f"playground-{endpoint.pk}"
    kept = session.get(slot)
    if kept and ApiKey.objects.filter(pk=kept["id"], revoked=None, expires__gt=timezone.now()).exists():
        return str(kept["text"])
    expires = timezone.now() + _LIFETIME
    made, text = actions.create_playground_key(actor=actor, endpoint=endpoint, expires=expires)
    session[slot] = {"id": made.pk, "text": text}
    return text
