"""Invitations: for one address, for one use, for seven days, never by GET."""

import html
import re
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from apps.core.models import AuditEntry
from apps.teams import actions
from apps.teams.models import Invitation, Membership, Role, User
from tests.cast import Cast, make_user
from workers.contracts import keys
from workers.contracts.errors import UserError


@pytest.fixture
def nina(db: None) -> User:
    """Somebody new."""
    return make_user("nina")


def invite(cast: Cast, role: str = Role.MEMBER, actor: User | None = None) -> tuple[Invitation, str]:
    return actions.invite_member(actor=actor or cast.alice, team=cast.ours.team, email="Nina@Example.com", role=role)


def test_the_invited_joins_with_the_role_of_the_invitation(cast: Cast, nina: User) -> None:
    _, token = invite(cast, Role.VIEWER)
    membership = actions.accept_invitation(actor=nina, token=token)
    assert (membership.team, membership.role) == (cast.ours.team, Role.VIEWER)
    assert AuditEntry.objects.filter(team=cast.ours.team, actor=nina, event="invitation.accepted").exists()


def test_the_mail_holds_the_token_and_the_database_does_not(
    cast: Cast, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        invitation, token = invite(cast)
    (message,) = mail.outbox
    assert message.to == ["nina@example.com"]
    assert f"/invitations/{token}" in message.body
    assert invitation.digest == keys.digest(token)
    assert token not in str(list(Invitation.objects.values()) + list(AuditEntry.objects.values()))


def test_no_mail_is_sent_when_the_invitation_is_rolled_back(cast: Cast) -> None:
    # The test's own transaction is never committed.
    invite(cast)
    assert mail.outbox == []


def test_it_works_once(cast: Cast, nina: User) -> None:
    _, token = invite(cast)
    membership = actions.accept_invitation(actor=nina, token=token)
    actions.remove_member(actor=nina, membership=membership)
    with pytest.raises(UserError, match="invitation_invalid"):
        actions.accept_invitation(actor=nina, token=token)


def test_another_address_cannot_use_it(cast: Cast) -> None:
    _, token = invite(cast)
    with pytest.raises(UserError, match="invitation_not_yours"):
        actions.accept_invitation(actor=cast.charlie, token=token)
    assert not Membership.objects.filter(team=cast.ours.team, user=cast.charlie).exists()


def test_it_expires_after_seven_days(cast: Cast, nina: User) -> None:
    invitation, token = invite(cast)
    week = timedelta(days=7)
    assert week - timedelta(minutes=1) < invitation.expires - timezone.now() <= week
    Invitation.objects.update(expires=timezone.now())
    with pytest.raises(UserError, match="invitation_invalid"):
        actions.accept_invitation(actor=nina, token=token)


def test_it_can_be_withdrawn(cast: Cast, nina: User) -> None:
    invitation, token = invite(cast)
    actions.withdraw_invitation(actor=cast.ada, invitation=invitation)
    with pytest.raises(UserError, match="invitation_invalid"):
        actions.accept_invitation(actor=nina, token=token)


def test_it_dies_with_the_inviters_membership(cast: Cast, nina: User) -> None:
    _, token = invite(cast, actor=cast.ada)
    ada = Membership.objects.get(team=cast.ours.team, user=cast.ada)
    actions.remove_member(actor=cast.alice, membership=ada)
    with pytest.raises(UserError, match="invitation_invalid"):
        actions.accept_invitation(actor=nina, token=token)


def test_it_is_worth_no_more_than_the_inviters_present_role(cast: Cast, nina: User) -> None:
    _, token = invite(cast, Role.ADMIN, actor=cast.ada)
    Membership.objects.filter(team=cast.ours.team, user=cast.ada).update(role=Role.MEMBER)
    with pytest.raises(UserError, match="invitation_invalid"):
        actions.accept_invitation(actor=nina, token=token)


def test_a_new_invitation_of_an_address_replaces_the_old(cast: Cast, nina: User) -> None:
    _, first = invite(cast, Role.ADMIN)
    invite(cast, Role.VIEWER)
    with pytest.raises(UserError, match="invitation_invalid"):
        actions.accept_invitation(actor=nina, token=first)


def test_an_admin_invites_no_owner(cast: Cast) -> None:
    with pytest.raises(UserError, match="role_too_high"):
        invite(cast, Role.OWNER, actor=cast.ada)


def test_members_do_not_invite(cast: Cast) -> None:
    with pytest.raises(UserError, match="not_allowed"):
        invite(cast, actor=cast.bob)


def test_whoever_is_in_the_team_is_not_invited_again(cast: Cast) -> None:
    with pytest.raises(UserError, match="already_member"):
        actions.invite_member(actor=cast.alice, team=cast.ours.team, email=cast.bob.email, role=Role.ADMIN)


def test_a_team_sends_a_bounded_number_of_invitations(cast: Cast) -> None:
    for number in range(actions.INVITATIONS_PER_HOUR):
        actions.invite_member(
            actor=cast.alice, team=cast.ours.team, email=f"guest{number}@example.com", role=Role.VIEWER
        )
    with pytest.raises(UserError, match="rate_limited") as caught:
        invite(cast)
    assert 3500 < caught.value.params["retry_after"] <= 3601


@pytest.mark.usefixtures("redis_url")
def test_who_makes_an_account_to_accept_finds_the_address_filled_in(cast: Cast, client: Client) -> None:
    _, token = invite(cast)
    (way,) = re.findall(r'href="(/accounts/signup/[^"]*)"', client.get(f"/invitations/{token}").text)
    page = client.get(html.unescape(way)).text
    assert 'value="nina@example.com"' in page and "you join the team that invites you" in page
