"""Entries of streams that could not be applied: kept as they came, applied again once the cause is mended, or dropped.

Somebody has to decide: what they say of requests or jobs is in no sum meanwhile.
"""

import json
from collections.abc import Mapping
from typing import Final

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.usage.models import DeadLetter

log = structlog.get_logger(__name__)

# Of a text that people read.
_READABLE: Final = 10_000

Fields = Mapping[bytes, bytes]


def put(stream: str, position: str, fields: Fields, error: Exception) -> None:
    """Set an entry aside, once."""
    log.error("dead_letter", stream=stream, position=position, reason=reason_of(error))
    # JSON keeps every byte, and Postgres takes it: a NUL is written as an escape.
    exact = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields.items()}
    letter = {"entry": _readable(fields), "fields": json.dumps(exact), "reason": reason_of(error)}
    DeadLetter.objects.get_or_create(stream=stream, position=position, defaults=letter)


def waiting() -> QuerySet[DeadLetter]:
    """Those that nobody has decided on, oldest first."""
    return DeadLetter.objects.filter(settled=None).order_by("pk")


def fields_of(letter: DeadLetter) -> Fields:
    """The entry as it came."""
    return {name.encode("latin-1"): value.encode("latin-1") for name, value in json.loads(letter.fields).items()}


def settle(letter: DeadLetter, outcome: DeadLetter.Outcome, by: str) -> bool:
    """Write down what was done, and by whom; False where somebody was quicker. What is settled stays to be read."""
    found = waiting().filter(pk=letter.pk).update(settled=timezone.now(), outcome=outcome, settled_by=by[:100])
    if found:
        log.warning("dead_letter_settled", stream=letter.stream, position=letter.position, outcome=outcome, by=by)
    return found == 1


def failed_again(letter: DeadLetter, error: Exception) -> None:
    """Keep why it failed this time. Raises what only means that Postgres is away."""
    if isinstance(error, OperationalError | InterfaceError):
        raise error
    with transaction.atomic():
        DeadLetter.objects.filter(pk=letter.pk).update(reason=reason_of(error))


def reason_of(error: Exception) -> str:
    """Why, in 400 characters."""
    # Of a database error only the first line: the others quote the statement.
    text = str(error).split("\n")[0] if isinstance(error, DatabaseError) else str(error)
    return f"{type(error).__name__}: {text}".replace("\x00", "\\0")[:400]


def _readable(fields: Fields) -> str:
    text = " ".join(
        f"{name.decode('utf-8', 'replace')}={value.decode('utf-8', 'replace')}" for name, value in fields.items()
    )
    return text.replace("\x00", "\\0")[:_READABLE]
