"""Control API: how many requests a team, its endpoints and its keys may have answered in a month."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import api
from apps.endpoints.access import endpoint_for
from apps.endpoints.models import Endpoint
from apps.teams.access import api_key_for, team_for
from apps.teams.authentication import actor_of
from apps.teams.models import ApiKey, Team, User
from apps.usage import actions, quota
from workers.contracts.errors import UserError


def _limit(**options: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=0, max_value=10**12, allow_null=True, **options)


class LimitsIn(serializers.Serializer[Any]):
    """Answered requests per calendar month (UTC); null is any number. What is left out stays."""

    monthly_requests = _limit(required=False, help_text="of the whole team")
    subjects = serializers.DictField(
        child=_limit(), required=False, help_text="ids of endpoints or keys, each with its own"
    )


class UseOut(serializers.Serializer[Any]):
    monthly_requests = _limit()
    used = serializers.IntegerField(help_text="this month")
    left = serializers.IntegerField(allow_null=True)


class SubjectOut(UseOut):
    id = serializers.CharField(help_text="of an endpoint or a key")


class LimitsOut(UseOut):
    subjects = SubjectOut(many=True)


@extend_schema(methods=["GET"], responses=LimitsOut, summary="What a team may use, and has used")
@extend_schema(methods=["PUT"], request=LimitsIn, responses=LimitsOut, summary="Change what a team may use")
@api_view(["GET", "PUT"])
def limits(request: Request, team_id: str) -> Response:
    actor = actor_of(request)
    team = team_for(actor, team_id, need="read" if request.method == "GET" else "owner")
    if request.method == "PUT":
        asked = _asked(actor, team, api.read(LimitsIn, request))
        actions.change_limits(actor=actor, team=team, limits=asked)
    uses = {use.subject: use for use in quota.uses(team)}
    whole = uses.pop("", None)
    if whole is None:
        used = quota.used_this_month([team.pk]).get(team.pk, 0)
        found: dict[str, Any] = {"monthly_requests": None, "used": used, "left": None}
    else:
        found = _use(whole)
    return Response({**found, "subjects": [{"id": use.subject, **_use(use)} for use in uses.values()]})


def _asked(actor: User, team: Team, body: dict[str, Any]) -> list[tuple[Endpoint | ApiKey | None, int | None]]:
    """Whose limit is to be what; None is the team. Raises UserError."""
    whole = [(None, body["monthly_requests"])] if "monthly_requests" in body else []
    return [*whole, *((_subject(actor, team, one), most) for one, most in body.get("subjects", {}).items())]


def _subject(actor: User, team: Team, identifier: str) -> Endpoint | ApiKey:
    """An endpoint or key of the team. Raises UserError."""
    found: Endpoint | ApiKey
    if identifier.startswith("key_"):
        found = api_key_for(actor, identifier)
        owner = found.team_id
    else:
        found = endpoint_for(actor, identifier)
        owner = found.project.team_id
    if owner != team.pk:
        raise UserError("not_found")
    return found


def _use(use: quota.Use) -> dict[str, int]:
    return {"monthly_requests": use.limit, "used": use.used, "left": use.left}
