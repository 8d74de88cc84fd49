"""Control API: endpoints and API keys."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import api
from apps.core.schema import paged
from apps.endpoints import actions, rollouts, snippets, status, traffic
from apps.endpoints import serializers as s
from apps.endpoints.access import endpoint_for
from apps.endpoints.models import Endpoint, Rollout
from apps.endpoints.rollouts import Rule
from apps.projects.access import project_for
from apps.registry.access import model_for
from apps.teams.access import api_key_for, team_for
from apps.teams.authentication import actor_of
from apps.teams.models import ApiKey, User
from workers.contracts.snapshot import ServingStatus


def _endpoint(endpoint: Endpoint, processes: list[ServingStatus]) -> dict[str, Any]:
    revisions = status.revisions(endpoint, processes)
    return {
        "id": endpoint.pk,
        "project": endpoint.project_id,
        "name": endpoint.name,
        "slug": endpoint.slug,
        "template": endpoint.template,
        "state": status.worst(revisions),
        "url": snippets.predict_url(endpoint),
        "revisions": [
            {
                "id": row.revision.pk,
                "number": row.revision.number,
                "model": row.revision.model_id,
                "variant": row.revision.variant,
                "traffic": row.revision.traffic,
                "state": row.state,
                "problem": row.problem,
                "created": row.revision.created,
            }
            for row in revisions
        ],
    }


def _detail(endpoint: Endpoint) -> dict[str, Any]:
    rollout = rollouts.latest(endpoint)
    return {
        **_endpoint(endpoint, status.serving_processes()),
        "split": asdict(traffic.measured(endpoint)),
        "rollout": rollout and _rollout(rollout),
    }


def _rollout(rollout: Rollout) -> dict[str, Any]:
    compared = asdict(rollouts.compared(rollout))
    names = ("answered", "candidate", "count")
    rule = {name: getattr(rollout, name) for name in ("requests", "max_error_percent", "max_p99_ms")}
    return {
        "id": rollout.pk,
        "candidate": rollout.candidate_id,
        "state": rollout.state,
        "shadow": rollout.shadow,
        "rule": rule if rollout.has_rule else None,
        "findings": asdict(rollouts.findings(rollout)),
        "copied": asdict(rollouts.copied(rollout)),
        "compared": {**compared, "changes": [dict(zip(names, row, strict=True)) for row in compared["changes"]]},
        "reason": rollouts.why(rollout),
        "started": rollout.started,
        "ended": rollout.ended,
    }


@extend_schema(
    methods=["GET"],
    operation_id="endpoints_list",
    parameters=[OpenApiParameter("project", str), OpenApiParameter("page", int)],
    responses=paged(s.EndpointOut),
    summary="Endpoints, newest first",
)
@extend_schema(
    methods=["POST"],
    operation_id="endpoints_create",
    request=s.EndpointIn,
    responses={201: s.EndpointOut},
    summary="Put a model online at a new address",
)
@api_view(["GET", "POST"])
def endpoints(request: Request) -> Response:
    actor = actor_of(request)
    if request.method == "POST":
        asked = api.read(s.EndpointIn, request)
        project = project_for(actor, asked["project"], need="write")
        model = model_for(actor, asked["model"])
        made = actions.create_endpoint(
            actor=actor, project=project, name=asked["name"], model=model, variant=asked["variant"]
        )
        return Response(_endpoint(made, status.serving_processes()), status=201)
    query = api.read_query(request, {"project", "page"})
    rows = Endpoint.objects.filter(deleted=None, project__team__memberships__user=actor)
    if "project" in query:
        rows = rows.filter(project=project_for(actor, query["project"]))
    processes = status.serving_processes()
    return api.page(request, rows.prefetch_related("revisions"), lambda row: _endpoint(row, processes))


@extend_schema(
    methods=["GET"], responses=s.EndpointDetailOut, summary="An endpoint, its revisions and how a new one does"
)
@extend_schema(methods=["DELETE"], responses={204: None}, summary="Take an endpoint off the air")
@api_view(["GET", "DELETE"])
def endpoint(request: Request, endpoint_id: str) -> Response:
    actor = actor_of(request)
    found = endpoint_for(actor, endpoint_id, need="read" if request.method == "GET" else "admin")
    if request.method == "DELETE":
        actions.delete_endpoint(actor=actor, endpoint=found)
        return Response(status=204)
    return Response(_detail(found))


@extend_schema(
    request=s.DeployIn,
    responses={202: s.EndpointDetailOut},
    summary="Give a model a share of the traffic, copies of it, and a rule by which it is taken back",
)
@api_view(["POST"])
def deploy(request: Request, endpoint_id: str) -> Response:
    actor = actor_of(request)
    found = endpoint_for(actor, endpoint_id, need="write")
    asked = api.read(s.DeployIn, request)
    rule = asked.get("rule")
    actions.deploy_model(
        actor=actor,
        endpoint=found,
        model=model_for(actor, asked["model"]),
        variant=asked["variant"],
        traffic=asked["traffic"],
        shadow=asked["shadow"],
        rule=rule and Rule.checked(rule["requests"], rule.get("max_error_percent"), rule.get("max_p99_ms")),
    )
    return Response(_detail(found), status=202)


@extend_schema(request=None, responses={202: s.EndpointDetailOut}, summary="Give all traffic to the model on trial")
@api_view(["POST"])
def promote(request: Request, endpoint_id: str) -> Response:
    actor = actor_of(request)
    found = actions.promote_candidate(actor=actor, endpoint=endpoint_for(actor, endpoint_id, need="write"))
    return Response(_detail(found), status=202)


@extend_schema(
    request=None,
    responses={202: s.EndpointDetailOut},
    summary="Take back the model on trial, or bring back the shares before the last change",
)
@api_view(["POST"])
def roll_back(request: Request, endpoint_id: str) -> Response:
    actor = actor_of(request)
    found = actions.roll_back(actor=actor, endpoint=endpoint_for(actor, endpoint_id, need="write"))
    return Response(_detail(found), status=202)


@extend_schema(
    methods=["GET"],
    operation_id="keys_list",
    parameters=[OpenApiParameter("team", str), OpenApiParameter("page", int)],
    responses=paged(s.KeyOut),
    summary="The API keys of a team, or of all of yours",
)
@extend_schema(
    methods=["POST"],
    operation_id="keys_create",
    request=s.KeyIn,
    responses={201: s.NewKeyOut},
    summary="Create an API key; it is shown this once",
)
@api_view(["GET", "POST"])
def keys(request: Request) -> Response:
    actor = actor_of(request)
    if request.method == "POST":
        return _create_key(actor, api.read(s.KeyIn, request))
    query = api.read_query(request, {"team", "page"})
    rows = ApiKey.objects.filter(team__memberships__user=actor)
    if "team" in query:
        rows = rows.filter(team=team_for(actor, query["team"]))
    return api.page(request, rows.prefetch_related("endpoints"), lambda row: dict(s.KeyOut(row).data))


def _create_key(actor: User, asked: dict[str, Any]) -> Response:
    team = team_for(actor, asked["team"], need="admin")
    scope = asked.get("endpoints")
    opened = None if scope is None else [endpoint_for(actor, one) for one in scope]
    key, text = actions.create_api_key(
        actor=actor,
        team=team,
        name=asked["name"],
        endpoints=opened,
        expires=asked.get("expires"),
        rate_limit=asked.get("rate_limit"),
        origins=asked.get("origins", []),
    )
    return Response({**s.KeyOut(key).data, "key": text}, status=201)


@extend_schema(methods=["GET"], responses=s.KeyOut, summary="An API key")
@extend_schema(methods=["DELETE"], responses={204: None}, summary="Revoke an API key, within one second")
@api_view(["GET", "DELETE"])
def key(request: Request, key_id: str) -> Response:
    actor = actor_of(request)
    found: ApiKey = api_key_for(actor, key_id, need="read" if request.method == "GET" else "admin")
    if request.method == "DELETE":
        actions.revoke_api_key(actor=actor, key=found)
        return Response(status=204)
    return Response(s.KeyOut(found).data)
