"""Control API: who am I, teams, members, invitations, personal tokens, the audit trail."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import api
from apps.core.schema import paged
from apps.teams import actions
from apps.teams import serializers as s
from apps.teams.access import invitation_for, membership_for, role_of, team_for
from apps.teams.authentication import actor_of
from apps.teams.models import Membership, PersonalToken, Team
from workers.contracts.errors import UserError


def _team(team: Team, role: str | None) -> dict[str, Any]:
    return {"id": team.pk, "name": team.name, "role": role}


@extend_schema(responses=s.MeOut, summary="Who you are, and your teams")
@api_view(["GET"])
def me(request: Request) -> Response:
    actor = actor_of(request)
    memberships = actor.memberships.select_related("team")
    teams = [_team(membership.team, membership.role) for membership in memberships]
    return Response({"email": actor.email, "name": actor.display_name, "teams": teams})


@extend_schema(request=s.NameIn, responses={201: s.TeamOut}, summary="Create a team")
@api_view(["POST"])
def teams(request: Request) -> Response:
    actor = actor_of(request)
    team = actions.create_team(actor=actor, name=api.read(s.NameIn, request)["name"])
    return Response(_team(team, role_of(actor, team.pk)), status=201)


@extend_schema(methods=["GET"], responses=s.TeamOut, summary="A team")
@extend_schema(methods=["PATCH"], request=s.NameIn, responses=s.TeamOut, summary="Rename a team")
@api_view(["GET", "PATCH"])
def team(request: Request, team_id: str) -> Response:
    actor = actor_of(request)
    found = team_for(actor, team_id, need="read" if request.method == "GET" else "admin")
    if request.method == "PATCH":
        found = actions.rename_team(actor=actor, team=found, name=api.read(s.NameIn, request)["name"])
    return Response(_team(found, role_of(actor, found.pk)))


@extend_schema(responses=paged(s.MemberOut), summary="The members of a team")
@api_view(["GET"])
def members(request: Request, team_id: str) -> Response:
    team = team_for(actor_of(request), team_id)
    api.read_query(request, {"page"})
    return api.page(request, team.memberships.select_related("user"), lambda row: dict(s.MemberOut(row).data))


@extend_schema(methods=["PATCH"], request=s.RoleIn, responses=s.MemberOut, summary="Change a member's role")
@extend_schema(methods=["DELETE"], responses={204: None}, summary="Remove a member, or leave")
@api_view(["PATCH", "DELETE"])
def member(request: Request, team_id: str, membership_id: str) -> Response:
    actor = actor_of(request)
    found = membership_for(actor, team_id, membership_id, need="read")
    if request.method == "DELETE":
        actions.remove_member(actor=actor, membership=found)
        return Response(status=204)
    role = api.read(s.RoleIn, request)["role"]
    return Response(s.MemberOut(actions.change_role(actor=actor, membership=found, role=role)).data)


@extend_schema(methods=["GET"], responses=paged(s.InvitationOut), summary="Open invitations")
@extend_schema(methods=["POST"], request=s.InvitationIn, responses={201: s.NewInvitationOut}, summary="Invite somebody")
@api_view(["GET", "POST"])
def invitations(request: Request, team_id: str) -> Response:
    actor = actor_of(request)
    team = team_for(actor, team_id, need="admin")
    if request.method == "GET":
        api.read_query(request, {"page"})
        rows = team.invitations.open().select_related("invited_by")
        return api.page(request, rows, lambda row: dict(s.InvitationOut(row).data))
    invitation, token = actions.invite_member(actor=actor, team=team, **api.read(s.InvitationIn, request))
    link = f"{settings.SLIPWAY_URL}/invitations/{token}"
    return Response({**s.InvitationOut(invitation).data, "token": token, "link": link}, status=201)


@extend_schema(responses={204: None}, summary="Withdraw an invitation")
@api_view(["DELETE"])
def invitation(request: Request, team_id: str, invitation_id: str) -> Response:
    actor = actor_of(request)
    actions.withdraw_invitation(actor=actor, invitation=invitation_for(actor, team_id, invitation_id))
    return Response(status=204)


@extend_schema(request=s.AcceptIn, responses={201: s.TeamOut}, summary="Join a team")
@api_view(["POST"])
def accept(request: Request) -> Response:
    actor = actor_of(request)
    membership: Membership = actions.accept_invitation(actor=actor, token=api.read(s.AcceptIn, request)["token"])
    return Response(_team(membership.team, membership.role), status=201)


@extend_schema(responses=paged(s.AuditOut), summary="Who did what, newest first")
@api_view(["GET"])
def audit_trail(request: Request, team_id: str) -> Response:
    team = team_for(actor_of(request), team_id, need="admin")
    api.read_query(request, {"page"})
    return api.page(request, team.audit_entries.all(), lambda row: s.AuditOut(row).data)  # type: ignore[return-value,arg-type]


@extend_schema(methods=["GET"], responses=paged(s.TokenOut), summary="Your personal tokens")
@extend_schema(methods=["POST"], request=s.TokenIn, responses={201: s.NewTokenOut}, summary="Create a personal token")
@api_view(["GET", "POST"])
def tokens(request: Request) -> Response:
    actor = actor_of(request)
    if request.method == "GET":
        api.read_query(request, {"page"})
        rows = actor.personal_tokens.filter(revoked=None)
        return api.page(request, rows, lambda row: dict(s.TokenOut(row).data))
    created, text = actions.create_personal_token(actor=actor, **api.read(s.TokenIn, request))
    return Response({**s.TokenOut(created).data, "token": text}, status=201)


@extend_schema(responses={204: None}, summary="Revoke a personal token")
@api_view(["DELETE"])
def token(request: Request, token_id: str) -> Response:
    actor = actor_of(request)
    found = PersonalToken.objects.filter(pk=token_id, user=actor).first()
    if found is None:
        raise UserError("not_found")
    actions.revoke_personal_token(actor=actor, token=found)
    return Response(status=204)
