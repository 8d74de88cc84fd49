"""Periodic work on many things, one of which may fail today."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog
from django.db.models import Model

from workers.contracts.errors import SlipwayError

log = structlog.get_logger(__name__)

Thing = TypeVar("Thing", bound=Model)


def sweep(things: Iterable[Thing], do: Callable[[Thing], object], failed: str) -> int:
    """Call `do` with each thing; for how many that worked. A SlipwayError is logged as the event `failed`, and the
    thing is left to the next sweep."""
    done = 0
    for thing in things:
        try:
            do(thing)
            done += 1
        except SlipwayError as error:
            log.warning(failed, id=thing.pk, reason=error.code)
    return done
