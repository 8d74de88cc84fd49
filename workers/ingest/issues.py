"""The data doctor's findings: one entry per code, with a count and a few examples."""

from typing import Any, Literal

from workers.contracts.errors import CATALOGUE
from workers.ingest.records import printable

Severity = Literal["error", "warning", "info"]
_RANK: dict[str, int] = {"error": 0, "warning": 1, "info": 2}
_VALUE_CHARS = 200


class Issues:
    """Collects findings. "error": rows were rejected; "warning": worth a look; "info": told for completeness."""

    def __init__(self, max_examples: int) -> None:
        self.max_examples = max_examples
        self._found: dict[str, dict[str, Any]] = {}

    def add(
        self,
        code: str,
        severity: Severity,
        *,
        line: int | None = None,
        column: str = "",
        value: str = "",
        count: int = 1,
        message: str = "",
    ) -> None:
        """One more finding, or `count` at once. The first messages and examples are kept."""
        entry = CATALOGUE[code]
        issue = self._found.setdefault(
            code,
            {
                "code": code,
                "severity": severity,
                "count": 0,
                "message": message or entry.message,
                "examples": [],
                "repair": entry.hint,
            },
        )
        issue["count"] += count
        if line is not None and len(issue["examples"]) < self.max_examples:
            example: dict[str, Any] = {"line": line, "value": shorten(value)}
            if column:
                example["column"] = column
            issue["examples"].append(example)

    def count(self, code: str) -> int:
        """How often a code was found."""
        found = self._found.get(code)
        return int(found["count"]) if found else 0

    def as_list(self) -> list[dict[str, Any]]:
        """All findings, the gravest first, then the most frequent."""
        return sorted(self._found.values(), key=lambda issue: (_RANK[issue["severity"]], -issue["count"]))


def shorten(value: str) -> str:
    """A value as an example: printable, at most 200 characters."""
    text = printable(value)
    return text if len(text) <= _VALUE_CHARS else text[: _VALUE_CHARS - 1] + "…"
