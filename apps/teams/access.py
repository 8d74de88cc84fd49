"""Who may do what. Every tenant object is loaded through a function like these, and in no other way.

A stranger gets `not_found`, whether the object exists or not. A member whose role is too low gets `not_allowed`.
"""

from typing import Literal

from apps.teams.models import ApiKey, Invitation, Membership, Role, Team, User
from workers.contracts.errors import UserError

Need = Literal["read", "write", "admin", "owner"]

_ALLOWED: dict[Need, frozenset[str]] = {
    "read": frozenset({Role.OWNER, Role.ADMIN, Role.MEMBER, Role.VIEWER}),
    "write": frozenset({Role.OWNER, Role.ADMIN, Role.MEMBER}),
    "admin": frozenset({Role.OWNER, Role.ADMIN}),
    "owner": frozenset({Role.OWNER}),
}


def role_of(actor: User, team_id: str) -> str | None:
    """The actor's role in a team, None for a stranger or a deactivated user."""
    if not actor.is_active:
        return None
    return Membership.objects.filter(team_id=team_id, user=actor).values_list("role", flat=True).first()


def allows(role: str | None, need: Need) -> bool:
    """Whether a role suffices."""
    return role in _ALLOWED[need]


def require(actor: User, team_id: str, need: Need) -> str:
    """The actor's role, if it suffices. Raises UserError `not_found` or `not_allowed`."""
    role = role_of(actor, team_id)
    if role is None:
        raise UserError("not_found")
    if not allows(role, need):
        raise UserError("not_allowed")
    return role


def team_for(actor: User, team_id: str, *, need: Need = "read") -> Team:
    """A team by id. Raises UserError `not_found` or `not_allowed`."""
    require(actor, team_id, need)
    return Team.objects.get(pk=team_id)


def team_to_write(actor: User, team_id: str | None) -> Team:
    """The team named, or the first that the actor may write to.

    Raises UserError `not_found`, `not_allowed`, `invalid`.
    """
    if team_id is not None:
        return team_for(actor, team_id, need="write")
    own = Membership.objects.filter(user=actor, role__in=_ALLOWED["write"]).select_related("team").first()
    if own is None:
        raise UserError("invalid", fields=[{"field": "team", "message": "You may write to no team: create one first."}])
    return own.team


def membership_for(actor: User, team_id: str, membership_id: str, *, need: Need = "admin") -> Membership:
    """A membership of a team. Raises UserError `not_found` or `not_allowed`."""
    require(actor, team_id, need)
    found = Membership.objects.select_related("team", "user").filter(team_id=team_id, pk=membership_id).first()
    if found is None:
        raise UserError("not_found")
    return found


def invitation_for(actor: User, team_id: str, invitation_id: str, *, need: Need = "admin") -> Invitation:
    """An invitation of a team. Raises UserError `not_found` or `not_allowed`."""
    require(actor, team_id, need)
    found = Invitation.objects.select_related("team").filter(team_id=team_id, pk=invitation_id).first()
    if found is None:
        raise UserError("not_found")
    return found


def api_key_for(actor: User, key_id: str, *, need: Need = "read") -> ApiKey:
    """An API key by id. Raises UserError `not_found` or `not_allowed`."""
    found = ApiKey.objects.select_related("team").filter(pk=key_id).first()
    if found is None:
        raise UserError("not_found")
    require(actor, found.team_id, need)
    return found
