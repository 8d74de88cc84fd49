"""Control API: projects, their comments and milestones."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import api
from apps.core.schema import paged
from apps.projects import actions
from apps.projects import serializers as s
from apps.projects.access import milestone_for, project_for
from apps.projects.models import Project
from apps.teams.access import team_for, team_to_write
from apps.teams.authentication import actor_of


def _project(project: Project) -> dict[str, Any]:
    return dict(s.ProjectOut(project).data)


@extend_schema(
    methods=["GET"],
    parameters=[OpenApiParameter("team"), OpenApiParameter("page", int)],
    responses=paged(s.ProjectOut),
    summary="Projects that are not archived, newest first",
)
@extend_schema(methods=["POST"], request=s.ProjectIn, responses={201: s.ProjectOut}, summary="Create a project")
@api_view(["GET", "POST"])
def projects(request: Request) -> Response:
    actor = actor_of(request)
    if request.method == "POST":
        fields = api.read(s.ProjectIn, request)
        team = team_to_write(actor, fields.pop("team", None))
        return Response(_project(actions.create_project(actor=actor, team=team, **fields)), status=201)
    query = api.read_query(request, {"team", "page"})
    rows = Project.objects.visible_to(actor).filter(archived=None)
    if "team" in query:
        rows = rows.filter(team=team_for(actor, query["team"]))
    return api.page(request, rows, _project)


@extend_schema(methods=["GET"], responses=s.ProjectOut, summary="A project")
@extend_schema(methods=["PATCH"], request=s.ProjectChange, responses=s.ProjectOut, summary="Change a project")
@api_view(["GET", "PATCH"])
def project(request: Request, project_id: str) -> Response:
    actor = actor_of(request)
    found = project_for(actor, project_id, need="read" if request.method == "GET" else "write")
    if request.method == "PATCH":
        change = api.read(s.ProjectChange, request)
        archived = change.pop("archived", None)
        if change:
            found = actions.update_project(actor=actor, project=found, **change)
        if archived is not None and archived != bool(found.archived):
            act = actions.archive_project if archived else actions.restore_project
            found = act(actor=actor, project=found)
    return Response(_project(found))


@extend_schema(methods=["GET"], responses=paged(s.CommentOut), summary="Comments, oldest first")
@extend_schema(methods=["POST"], request=s.CommentIn, responses={201: s.CommentOut}, summary="Comment on a project")
@api_view(["GET", "POST"])
def comments(request: Request, project_id: str) -> Response:
    actor = actor_of(request)
    if request.method == "POST":
        found = project_for(actor, project_id, need="write")
        comment = actions.add_comment(actor=actor, project=found, text=api.read(s.CommentIn, request)["text"])
        return Response(s.CommentOut(comment).data, status=201)
    rows = project_for(actor, project_id).comments.select_related("author")
    api.read_query(request, {"page"})
    return api.page(request, rows, lambda row: dict(s.CommentOut(row).data))


@extend_schema(methods=["GET"], responses=paged(s.MilestoneOut), summary="Milestones, by date")
@extend_schema(methods=["POST"], request=s.MilestoneIn, responses={201: s.MilestoneOut}, summary="Add a milestone")
@api_view(["GET", "POST"])
def milestones(request: Request, project_id: str) -> Response:
    actor = actor_of(request)
    if request.method == "POST":
        found = project_for(actor, project_id, need="write")
        milestone = actions.add_milestone(actor=actor, project=found, **api.read(s.MilestoneIn, request))
        return Response(s.MilestoneOut(milestone).data, status=201)
    rows = project_for(actor, project_id).milestones.all()
    api.read_query(request, {"page"})
    return api.page(request, rows, lambda row: dict(s.MilestoneOut(row).data))


@extend_schema(request=None, responses=s.MilestoneOut, summary="Mark a milestone as reached")
@api_view(["POST"])
def complete(request: Request, project_id: str, milestone_id: str) -> Response:
    actor = actor_of(request)
    found = milestone_for(actor, project_id, milestone_id, need="write")
    return Response(s.MilestoneOut(actions.complete_milestone(actor=actor, milestone=found)).data)
