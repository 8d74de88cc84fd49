"""One family of errors and one catalogue of codes for every process and every boundary.

`UserError` is somebody's to correct (4xx, safe text), `JobError` ends a job and becomes its card, `InfraError` passes
and is retried. Anything else is a bug: 500, `internal_error`, a request id and nothing more.
"""

import errno
from typing import Any

from pydantic import BaseModel, ConfigDict

from workers.contracts.error_codes import CATALOGUE, REPAIRS, Entry

__all__ = [
    "CATALOGUE",
    "Entry",
    "ErrorCard",
    "InfraError",
    "JobError",
    "SlipwayError",
    "UserError",
    "body",
    "is_full",
    "of_disk",
]


class ErrorCard(BaseModel):
    """Why a job or an import failed, for a person: what happened, what was seen, what to do, what Slipway can do."""

    model_config = ConfigDict(extra="forbid")

    code: str
    message: str
    hint: str = ""
    # What was seen: the line, the exit signal, the last log lines. Never a traceback with paths.
    evidence: str = ""
    # What a button can do (see REPAIRS), for example {"action": "retry", "parameters": {"batch_size": 16}}.
    repair: dict[str, Any] | None = None


class SlipwayError(Exception):
    """An error with a code of the catalogue.

    The message defaults to the catalogue's and may be made more precise; `params` are facts for programs, `fields` the
    problems of single input fields: [{"field", "message"}].
    """

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        hint: str | None = None,
        evidence: str = "",
        repair: dict[str, Any] | None = None,
        fields: list[dict[str, Any]] | None = None,
        **params: Any,
    ) -> None:
        entry = CATALOGUE[code]
        self.code = code
        self.status = entry.status
        self.message = message or entry.message
        self.hint = entry.hint if hint is None else hint
        self.evidence = evidence
        self.repair = repair
        self.params = {**params, **({"fields": fields} if fields else {})}
        super().__init__(f"{code}: {self.message}")

    def card(self) -> ErrorCard:
        """The error as a job's card, with the catalogue's repair where the error has none of its own."""
        repair = self.repair or ({"action": REPAIRS[self.code]} if self.code in REPAIRS else None)
        return ErrorCard(code=self.code, message=self.message, hint=self.hint, evidence=self.evidence, repair=repair)


class UserError(SlipwayError):
    """The caller can correct it."""


class JobError(SlipwayError):
    """Ends a job: trying again unchanged would fail again."""


class InfraError(SlipwayError):
    """Something that Slipway stands on failed; trying again may help."""


def is_full(error: BaseException) -> bool:
    """Whether something could not be written for want of room."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def of_disk(error: OSError) -> InfraError:
    """What kept a file of ours from being written."""
    return InfraError("disk_full" if is_full(error) else "storage_unavailable")


def body(error: SlipwayError | None, request_id: str) -> dict[str, Any]:
    """The one JSON body of errors. None stands for a bug, of which nothing is told."""
    known = error or SlipwayError("internal_error")
    return {
        "error": {
            "code": known.code,
            "message": known.message,
            "hint": known.hint,
            "params": known.params,
            "request_id": request_id,
        }
    }
