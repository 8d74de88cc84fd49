"""Makes docs/errors.md out of the catalogue of errors: `python docs/make_errors.py`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from workers.contracts.error_codes import CATALOGUE  # noqa: E402

HEAD = """# Errors

Made by `python docs/make_errors.py` from `workers/contracts/error_codes.py`; a test keeps it up to date.

Every error of the control API and of the prediction API has this body, with the status of the table:

```json
{"error": {"code": "not_found", "message": "…", "hint": "…", "params": {}, "request_id": "…"}}
```

`code` is for programs and does not change; `message` and `hint` are for people and may be more precise than here.
`params.fields` lists problems of single fields: `[{"field", "message"}]`. A job that failed shows the same code,
message and hint, with its evidence and, where Slipway can help itself, a repair; its status is what HTTP would answer.
"""


def page() -> str:
    """The page as Markdown: one table for each area, in the catalogue's order."""
    parts = [HEAD]
    areas = list(dict.fromkeys(entry.area for entry in CATALOGUE.values()))
    for area in areas:
        parts.append(f"\n## {area}\n\n| code | status | meaning | what to do |\n| --- | --- | --- | --- |\n")
        parts += [
            f"| `{code}` | {entry.status} | {entry.message} | {entry.hint} |\n".replace("|  |", "| |")
            for code, entry in CATALOGUE.items()
            if entry.area == area
        ]
    return "".join(parts)


if __name__ == "__main__":
    (HERE / "errors.md").write_text(page(), encoding="utf-8")
