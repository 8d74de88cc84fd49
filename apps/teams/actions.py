"""What changes teams, their people and personal tokens."""

from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core import audit
from apps.core.throttle import throttled
from apps.teams import mail
from apps.teams.access import require
from apps.teams.models import Invitation, Membership, PersonalToken, Role, Team, User
from workers.contracts import keys
from workers.contracts.errors import UserError

INVITATION_DAYS = 7
INVITATIONS_PER_HOUR = 50
TOKENS_PER_USER = 50

_RANK: dict[str, int] = {Role.VIEWER: 0, Role.MEMBER: 1, Role.ADMIN: 2, Role.OWNER: 3}


@transaction.atomic
def create_team(*, actor: User, name: str = "") -> Team:
    """A team with the actor as its owner; named after them where no name is given."""
    chosen = name.strip() or _("%(name)s's team") % {"name": actor.display_name}
    team = Team.objects.create(name=chosen[:120])
    Membership.objects.create(team=team, user=actor, role=Role.OWNER)
    audit.record(actor=actor, team=team, event="team.created", noun=team)
    return team


@transaction.atomic
def rename_team(*, actor: User, team: Team, name: str) -> Team:
    """Give the team another name. Admins and owners."""
    require(actor, team.pk, "admin")
    before, team.name = team.name, name.strip()
    team.save(update_fields=["name"])
    audit.record(actor=actor, team=team, event="team.renamed", noun=team, before=before)
    return team


@throttled("invitation")
@transaction.atomic
def invite_member(*, actor: User, team: Team, email: str, role: str) -> tuple[Invitation, str]:
    """Invite an address: the invitation and its token, which is mailed on commit and stored nowhere.

    An earlier open invitation of the address is withdrawn. Raises UserError `role_too_high`, `already_member`,
    `rate_limited`.
    """
    _require_rank(actor, team, role)
    address = email.strip().lower()
    if Membership.objects.filter(team=team, user__email=address).exists():
        raise UserError("already_member")
    _limit_invitations(team)
    now = timezone.now()
    team.invitations.filter(email=address, accepted=None, withdrawn=None).update(withdrawn=now)
    token = keys.new_key("inv").text
    invitation = Invitation.objects.create(
        team=team,
        email=address,
        role=role,
        digest=keys.digest(token),
        invited_by=actor,
        expires=now + timedelta(days=INVITATION_DAYS),
    )
    audit.record(actor=actor, team=team, event="invitation.created", noun=invitation, email=address, role=role)
    send = partial(mail.send_invitation, invitation, token, url=settings.SLIPWAY_URL)
    transaction.on_commit(send, robust=True)
    return invitation, token


def _limit_invitations(team: Team) -> None:
    """Invitations are mail to strangers: a bound on how many a team sends."""
    Team.objects.select_for_update().get(pk=team.pk)  # many at once count each other
    hour_ago = timezone.now() - timedelta(hours=1)
    recent = list(team.invitations.filter(created__gt=hour_ago).order_by("created").values_list("created", flat=True))
    if len(recent) >= INVITATIONS_PER_HOUR:
        wait = recent[-INVITATIONS_PER_HOUR] - hour_ago
        raise UserError("rate_limited", retry_after=int(wait.total_seconds()) + 1)


@transaction.atomic
def withdraw_invitation(*, actor: User, invitation: Invitation) -> None:
    """Make an open invitation worthless. Raises UserError `invitation_invalid` where it is not open."""
    require(actor, invitation.team_id, "admin")
    open_ones = Invitation.objects.filter(pk=invitation.pk, accepted=None, withdrawn=None)
    if not open_ones.update(withdrawn=timezone.now()):
        raise UserError("invitation_invalid")
    audit.record(actor=actor, team=invitation.team, event="invitation.withdrawn", noun=invitation)


@transaction.atomic
def accept_invitation(*, actor: User, token: str) -> Membership:
    """Join the team that the token invites to.

    Works once, for the invited address, as long as the inviter could still give the role. Raises UserError
    `invitation_invalid`, `invitation_not_yours`, `already_member`.
    """
    invitation = (
        Invitation.objects.select_for_update(of=("self",))
        .select_related("team", "invited_by")
        .filter(digest=keys.digest(token))
        .first()
    )
    if invitation is None or not invitation.is_open or not actor.is_active:
        raise UserError("invitation_invalid")
    if invitation.email != actor.email.lower():
        raise UserError("invitation_not_yours")
    try:
        _require_rank(invitation.invited_by, invitation.team, invitation.role)
    except UserError:
        raise UserError("invitation_invalid") from None
    membership, created = Membership.objects.get_or_create(
        team=invitation.team, user=actor, defaults={"role": invitation.role}
    )
    if not created:
        raise UserError("already_member")
    invitation.accepted = timezone.now()
    invitation.save(update_fields=["accepted"])
    audit.record(actor=actor, team=invitation.team, event="invitation.accepted", noun=invitation, role=invitation.role)
    return membership


@transaction.atomic
def change_role(*, actor: User, membership: Membership, role: str) -> Membership:
    """Give a member another role. Raises UserError `role_too_high`, `last_owner`."""
    locked = _locked(membership)
    _require_rank(actor, locked.team, locked.role, role)
    if role != Role.OWNER:
        _keep_an_owner(locked)
    before, locked.role = locked.role, role
    locked.save(update_fields=["role"])
    audit.record(
        actor=actor, team=locked.team, event="member.role_changed", noun=locked.user, before=before, after=role
    )
    return locked


@transaction.atomic
def remove_member(*, actor: User, membership: Membership) -> None:
    """Take somebody out of the team; anybody may leave. Raises UserError `role_too_high`, `last_owner`."""
    locked = _locked(membership)
    leaving = locked.user_id == actor.pk
    if not leaving:
        _require_rank(actor, locked.team, locked.role)
    _keep_an_owner(locked)
    event = "member.left" if leaving else "member.removed"
    audit.record(actor=actor, team=locked.team, event=event, noun=locked.user, role=locked.role)
    # What they had been about to give away goes with them.
    locked.team.invitations.filter(invited_by=locked.user, accepted=None, withdrawn=None).update(
        withdrawn=timezone.now()
    )
    locked.delete()


def _require_rank(actor: User, team: Team, *roles: str) -> None:
    """The actor manages people, and none of the roles is above their own."""
    own = require(actor, team.pk, "admin")
    if any(_RANK[role] > _RANK[own] for role in roles):
        raise UserError("role_too_high")


def _locked(membership: Membership) -> Membership:
    """The membership as it is now, its team locked: changes of owners happen one after the other."""
    Team.objects.select_for_update().get(pk=membership.team_id)
    found = Membership.objects.select_related("team", "user").filter(pk=membership.pk).first()
    if found is None:
        raise UserError("not_found")
    return found


def _keep_an_owner(membership: Membership) -> None:
    if membership.role != Role.OWNER:
        return
    others = Membership.objects.filter(team=membership.team_id, role=Role.OWNER, user__is_active=True)
    if not others.exclude(pk=membership.pk).exists():
        raise UserError("last_owner")


@throttled("token")
@transaction.atomic
def create_personal_token(*, actor: User, name: str, expires: datetime | None = None) -> tuple[PersonalToken, str]:
    """A token that acts as the actor, and its text, which is shown this once. Raises UserError `too_many_tokens`."""
    User.objects.select_for_update().get(pk=actor.pk)
    if actor.personal_tokens.filter(revoked=None).count() >= TOKENS_PER_USER:
        raise UserError("too_many_tokens")
    new = keys.new_key(keys.PERSONAL_TOKEN)
    token = PersonalToken.objects.create(
        user=actor, name=name.strip(), prefix=new.prefix, digest=new.digest, expires=expires
    )
    _record_in_teams(actor, "token.created", token)
    return token, new.text


@transaction.atomic
def revoke_personal_token(*, actor: User, token: PersonalToken) -> None:
    """End one of the actor's own tokens. Raises UserError `not_found` where it is not, or ended already."""
    if not PersonalToken.objects.filter(pk=token.pk, user=actor, revoked=None).update(revoked=timezone.now()):
        raise UserError("not_found")
    _record_in_teams(actor, "token.revoked", token)


def _record_in_teams(actor: User, event: str, token: PersonalToken) -> None:
    """A token opens all of its user's teams: each of them learns of it."""
    for team in Team.objects.filter(memberships__user=actor):
        audit.record(actor=actor, team=team, event=event, noun=token, name=token.name)
