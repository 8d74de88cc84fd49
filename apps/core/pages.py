"""How views answer: a page inside the shell, or the fragment that htmx asked for."""

from dataclasses import dataclass
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from apps.projects.models import Project
from apps.teams.access import allows, role_of
from apps.teams.models import Membership, Team, User

ROWS_PER_PAGE = 25


class SignedInRequest(HttpRequest):
    """What a view gets that requires a login: its user is nobody anonymous."""

    user: User
    htmx: HtmxDetails


@dataclass(frozen=True, slots=True)
class May:
    """What the viewer of a page may do in its team; hides buttons only: the actions check for themselves."""

    write: bool
    admin: bool
    owner: bool


def page(
    request: HttpRequest,
    template: str,
    /,
    *,
    team: Team | None = None,
    project: Project | None = None,
    fragment: str | None = None,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    """Render `template` in the shell of a team or project; `fragment` instead when htmx asks for a part.

    Templates get `team`, `project`, `may` (write, admin, owner) and the context.
    """
    team = project.team if project else team
    if team is not None:
        role = role_of(request.user, team.pk)  # type: ignore[arg-type]  # views require a login
        context["may"] = May(allows(role, "write"), allows(role, "admin"), allows(role, "owner"))
        if request.session.get("team") != team.pk:
            request.session["team"] = team.pk
    context |= {"team": team, "project": project}
    wanted = fragment if fragment and is_fragment(request) else template
    return render(request, wanted, context, status=status)


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks for a part of the page, not for the page."""
    htmx = request.htmx  # type: ignore[attr-defined]  # django_htmx's middleware
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def go(request: HttpRequest, url: str) -> HttpResponse:
    """Send the browser to another page, from a form or from htmx."""
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponseClientRedirect(url)
    response = HttpResponse(status=303)
    response["Location"] = url
    return response


def paginate(request: HttpRequest, rows: QuerySet[Any] | list[Any], per_page: int = ROWS_PER_PAGE) -> Page[Any]:
    """The page of rows that `?page=` asks for; the nearest one where there is no such page."""
    return Paginator(rows, per_page).get_page(request.GET.get("page"))


def current_team(request: HttpRequest) -> Team | None:
    """The team that the user looked at last, else their first, None without any."""
    if not request.user.is_authenticated:
        return None
    own = Membership.objects.filter(user=request.user).select_related("team")
    found = own.filter(team_id=request.session.get("team", "")).first() or own.first()
    return found.team if found else None
