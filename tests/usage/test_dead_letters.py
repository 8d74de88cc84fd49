"""What the recorder could not apply is listed, applied again or dropped by the operator, and who did it is kept."""

from io import StringIO

import pytest
import redis
from django.core.management import CommandError, call_command

from apps.usage import dead_letters
from apps.usage.models import DeadLetter, LedgerEntry
from apps.usage.recorder import Recorder
from tests.cast import Cast
from tests.usage.checkers import check_ledger, check_sums
from tests.usage.records import record
from workers.contracts import names

POISON = {b"r": b"\xff\x00 no json"}


def command(*words: str) -> str:
    """`manage.py dead_letters …`: what it prints."""
    out = StringIO()
    call_command("dead_letters", *words, stdout=out)
    return out.getvalue()


@pytest.fixture
def letter(cast: Cast, redis_client: redis.Redis) -> DeadLetter:
    """An entry that the recorder has set aside."""
    redis_client.xadd(names.STREAM_USAGE, POISON)
    Recorder(redis_client).step(block_ms=1)
    return DeadLetter.objects.get()


def test_what_waits_is_listed_with_its_cause(letter: DeadLetter) -> None:
    listed = command()
    assert str(letter.pk) in listed and letter.stream in listed and letter.reason in listed and "no json" in listed
    assert dead_letters.fields_of(letter) == POISON, "every byte is kept"


def test_what_fails_again_waits_on(letter: DeadLetter) -> None:
    with pytest.raises(CommandError, match="1 could not be applied"):
        command("retry", "--all")
    letter.refresh_from_db()
    assert letter.settled is None and not LedgerEntry.objects.exists()


def test_what_can_be_applied_by_now_is_counted_once(cast: Cast) -> None:
    one = record(cast.ours)
    fields = {b"r": one.model_dump_json().encode()}
    for position in ("1-0", "2-0"):  # the same request, twice
        dead_letters.put(names.STREAM_USAGE, position, fields, ValueError("its field was not known yet"))
    command("retry", "--all")
    check_ledger([(one.request_id, 200)])
    check_sums()
    assert {(row.outcome, bool(row.settled_by)) for row in DeadLetter.objects.all()} == {("applied", True)}
    assert command() == "0 wait.\n"
    assert command("list", "--settled").count("applied by") == 2


def test_what_is_dropped_is_dropped_by_somebody_and_once(letter: DeadLetter) -> None:
    command("drop", str(letter.pk))
    letter.refresh_from_db()
    assert (letter.outcome, bool(letter.settled_by)) == ("dropped", True)
    assert dead_letters.fields_of(letter) == POISON, "what was dropped stays to be read"
    for action in ("drop", "retry"):
        with pytest.raises(CommandError, match="Not waiting"):
            command(action, str(letter.pk))
    with pytest.raises(CommandError, match="Name numbers"):
        command("drop")
