"""Two at once: what is promised of one holds of both."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection

from apps.teams import actions
from apps.teams.models import Membership, PersonalToken, Role
from tests.cast import Cast, make_token, make_user
from workers.contracts.errors import UserError

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*acts: Callable[[], Any]) -> list[str]:
    """Do all of them at the same moment; "done" or the code of the error, for each."""
    barrier = Barrier(len(acts))

    def run(act: Callable[[], Any]) -> str:
        try:
            barrier.wait(10)
            act()
        except UserError as error:
            return error.code
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(len(acts)) as pool:
        return sorted(pool.map(run, acts))


def test_of_two_owners_who_leave_at_once_one_stays(transactional_db: None, cast: Cast) -> None:
    Membership.objects.filter(user=cast.bob).update(role=Role.OWNER)
    alice, bob = (Membership.objects.get(team=cast.ours.team, user=user) for user in (cast.alice, cast.bob))
    left = at_once(
        lambda: actions.remove_member(actor=cast.alice, membership=alice),
        lambda: actions.remove_member(actor=cast.bob, membership=bob),
    )
    assert left == ["done", "last_owner"]
    assert Membership.objects.filter(team=cast.ours.team, role=Role.OWNER).count() == 1


def test_two_owners_do_not_demote_each_other_at_once(transactional_db: None, cast: Cast) -> None:
    Membership.objects.filter(user=cast.bob).update(role=Role.OWNER)
    alice, bob = (Membership.objects.get(team=cast.ours.team, user=user) for user in (cast.alice, cast.bob))
    changed = at_once(
        lambda: actions.change_role(actor=cast.alice, membership=bob, role=Role.VIEWER),
        lambda: actions.change_role(actor=cast.bob, membership=alice, role=Role.VIEWER),
    )
    assert changed == ["done", "not_allowed"]
    assert Membership.objects.filter(team=cast.ours.team, role=Role.OWNER).count() == 1


def test_an_invitation_is_accepted_once(transactional_db: None, cast: Cast) -> None:
    nina = make_user("nina")
    _, token = actions.invite_member(actor=cast.alice, team=cast.ours.team, email=nina.email, role=Role.MEMBER)
    accepted = at_once(*[lambda: actions.accept_invitation(actor=nina, token=token)] * 4)
    assert accepted == ["done", *["invitation_invalid"] * 3]
    assert Membership.objects.filter(team=cast.ours.team, user=nina).count() == 1


def test_a_limit_holds_against_many_at_once(transactional_db: None, cast: Cast) -> None:
    for _ in range(actions.TOKENS_PER_USER - 1):
        make_token(cast.bob)
    made = at_once(*[lambda: actions.create_personal_token(actor=cast.bob, name="one more")] * 8)
    assert made == ["done", *["too_many_tokens"] * 7]
    assert PersonalToken.objects.filter(user=cast.bob).count() == actions.TOKENS_PER_USER
