"""Ready-to-run calls of an endpoint, with its real address. The key is a variable: snippets get pasted around."""

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from django.conf import settings

from apps.endpoints.models import Endpoint

# An input by kind of endpoint, made of an example of its own data where there is one.
_EXAMPLES: Final[dict[str, Callable[[str], Any]]] = {
    "text": lambda example: example or "Is this the right place for my question?",
    "pair": lambda example: json.loads(example) if example else {"text": "A text.", "text_pair": "Another one."},
    "recommendation": lambda example: {"user": example or "u1", "k": 10, "exclude_seen": True},
    "tabular": lambda example: json.loads(example) if example else {"column": "value"},
}


class Snippet(NamedTuple):
    """One language's call. `key` names the tab."""

    key: str
    title: str
    code: str


def predict_url(endpoint: Endpoint) -> str:
    """Where predictions are asked for."""
    return f"{settings.SLIPWAY_PREDICT_URL}/v1/endpoints/{endpoint.slug}/predict"


def snippets(endpoint: Endpoint, example: str = "", *, pairs: bool = False) -> list[Snippet]:
    """curl, Python and JavaScript. `example` is an input of the endpoint's own data: a text, a user, or a
    row in JSON; with `pairs` two texts in JSON."""
    url = predict_url(endpoint)
    if endpoint.kind == "image":
        return [Snippet(*row) for row in (("curl", "curl", _curl_image(url)), *_image_programs(url))]
    body = {"inputs": [_EXAMPLES["pair" if pairs else endpoint.kind](example)]}
    text = json.dumps(body, ensure_ascii=False)
    return [
        Snippet("curl", "curl", _curl_json(url, text)),
        Snippet("python", "Python", _python_json(url, body)),
        Snippet("javascript", "JavaScript", _javascript_json(url, text)),
    ]


def _curl_json(url: str, body: str) -> str:
    # In a single-quoted shell word, a quote is written '\''.
    quoted = body.replace("'", "'\\''")
    return (
        f"curl {url} \\\n"
        '  -H "Authorization: Bearer $SLIPWAY_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{quoted}'"
    )


def _python_json(url: str, body: dict[str, Any]) -> str:
    return (
        "import os\n\nimport requests\n\n"
        "reply = requests.post(\n"
        f'    "{url}",\n'
        '    headers={"Authorization": f"Bearer {os.environ[\'SLIPWAY_KEY\']}"},\n'
        f"    json={body!r},\n"
        "    timeout=10,\n"
        ")\n"
        "reply.raise_for_status()\n"
        'print(reply.json()["predictions"])'
    )


def _javascript_json(url: str, body: str) -> str:
    return (
        f'const reply = await fetch("{url}", {{\n'
        '  method: "POST",\n'
        "  headers: {\n"
        "    Authorization: `Bearer ${process.env.SLIPWAY_KEY}`,\n"
        '    "Content-Type": "application/json",\n'
        "  },\n"
        f"  body: JSON.stringify({body}),\n"
        "});\n"
        "if (!reply.ok) throw new Error(await reply.text());\n"
        "console.log((await reply.json()).predictions);"
    )


def _curl_image(url: str) -> str:
    return (
        f"curl {url} \\\n"
        '  -H "Authorization: Bearer $SLIPWAY_KEY" \\\n'
        '  -H "Content-Type: image/jpeg" \\\n'
        "  --data-binary @photo.jpg"
    )


def _image_programs(url: str) -> tuple[tuple[str, str, str], ...]:
    python = (
        "import os\n\nimport requests\n\n"
        'with open("photo.jpg", "rb") as photo:\n'
        "    reply = requests.post(\n"
        f'        "{url}",\n'
        "        headers={\n"
        '            "Authorization": f"Bearer {os.environ[\'SLIPWAY_KEY\']}",\n'
        '            "Content-Type": "image/jpeg",\n'
        "        },\n"
        "        data=photo,\n"
        "        timeout=10,\n"
        "    )\n"
        "reply.raise_for_status()\n"
        'print(reply.json()["predictions"])'
    )
    javascript = (
        'import { readFile } from "node:fs/promises";\n\n'
        f'const reply = await fetch("{url}", {{\n'
        '  method: "POST",\n'
        "  headers: {\n"
        "    Authorization: `Bearer ${process.env.SLIPWAY_KEY}`,\n"
        '    "Content-Type": "image/jpeg",\n'
        "  },\n"
        '  body: await readFile("photo.jpg"),\n'
        "});\n"
        "if (!reply.ok) throw new Error(await reply.text());\n"
        "console.log((await reply.json()).predictions);"
    )
    return (("python", "Python", python), ("javascript", "JavaScript", javascript))
