"""Roles: who may change whom."""

import pytest

from apps.core.models import AuditEntry
from apps.teams import actions
from apps.teams.models import Membership, Role, Team, User
from tests.cast import Cast, make_user
from workers.contracts.errors import UserError


def membership(team: Team, user: User) -> Membership:
    return Membership.objects.get(team=team, user=user)


def test_an_owner_makes_a_member_an_admin(cast: Cast) -> None:
    actions.change_role(actor=cast.alice, membership=membership(cast.ours.team, cast.bob), role=Role.ADMIN)
    assert membership(cast.ours.team, cast.bob).role == Role.ADMIN


@pytest.mark.parametrize("role", [Role.OWNER])
def test_an_admin_gives_no_role_above_their_own(cast: Cast, role: Role) -> None:
    with pytest.raises(UserError, match="role_too_high"):
        actions.change_role(actor=cast.ada, membership=membership(cast.ours.team, cast.bob), role=role)


def test_an_admin_does_not_touch_an_owner(cast: Cast) -> None:
    owner = membership(cast.ours.team, cast.alice)
    with pytest.raises(UserError, match="role_too_high"):
        actions.change_role(actor=cast.ada, membership=owner, role=Role.VIEWER)
    with pytest.raises(UserError, match="role_too_high"):
        actions.remove_member(actor=cast.ada, membership=owner)


def test_a_member_manages_nobody(cast: Cast) -> None:
    with pytest.raises(UserError, match="not_allowed"):
        actions.change_role(actor=cast.bob, membership=membership(cast.ours.team, cast.victor), role=Role.MEMBER)
    with pytest.raises(UserError, match="not_allowed"):
        actions.remove_member(actor=cast.bob, membership=membership(cast.ours.team, cast.victor))


def test_a_stranger_does_not_even_learn_of_the_team(cast: Cast) -> None:
    with pytest.raises(UserError, match="not_found"):
        actions.change_role(actor=cast.charlie, membership=membership(cast.ours.team, cast.bob), role=Role.VIEWER)


def test_the_last_owner_can_neither_leave_nor_step_down(cast: Cast) -> None:
    own = membership(cast.ours.team, cast.alice)
    with pytest.raises(UserError, match="last_owner"):
        actions.remove_member(actor=cast.alice, membership=own)
    with pytest.raises(UserError, match="last_owner"):
        actions.change_role(actor=cast.alice, membership=own, role=Role.ADMIN)


def test_a_deactivated_owner_does_not_count_as_one(cast: Cast) -> None:
    second = make_user("olga", is_active=False)
    Membership.objects.create(team=cast.ours.team, user=second, role=Role.OWNER)
    with pytest.raises(UserError, match="last_owner"):
        actions.remove_member(actor=cast.alice, membership=membership(cast.ours.team, cast.alice))


def test_with_a_second_owner_the_first_can_leave(cast: Cast) -> None:
    actions.change_role(actor=cast.alice, membership=membership(cast.ours.team, cast.bob), role=Role.OWNER)
    actions.remove_member(actor=cast.alice, membership=membership(cast.ours.team, cast.alice))
    assert not Membership.objects.filter(team=cast.ours.team, user=cast.alice).exists()


def test_a_viewer_can_leave(cast: Cast) -> None:
    actions.remove_member(actor=cast.victor, membership=membership(cast.ours.team, cast.victor))
    entry = AuditEntry.objects.get(team=cast.ours.team, event="member.left")
    assert (entry.actor, entry.noun_name) == (cast.victor, cast.victor.email)


def test_a_member_removed_meanwhile_is_not_found(cast: Cast) -> None:
    seen = membership(cast.ours.team, cast.bob)
    actions.remove_member(actor=cast.alice, membership=seen)
    with pytest.raises(UserError, match="not_found"):
        actions.change_role(actor=cast.alice, membership=Membership(pk="mbr_gone", team=cast.ours.team), role="admin")
