"""The frame around a page: navigation of the team and project that the page belongs to."""

from typing import Any

from django import template
from django.http import HttpRequest
from django.template.context import RequestContext

from apps.core.pages import current_team
from apps.teams.models import Membership
from apps.usage import quota

register = template.Library()

# The namespace of the address decides which entry of a project's navigation is lit.
_PROJECT_PARTS = {
    "datasets": "data",
    "training": "training",
    "registry": "models",
    "endpoints": "endpoints",
    "usage": "usage",
    "predictions": "predictions",
}


@register.inclusion_tag("components/sidebar.html", takes_context=True)
def sidebar(context: RequestContext) -> dict[str, Any]:
    """Navigation for the page's `team` and `project`; account pages have neither and get the user's current team."""
    request: HttpRequest = context["request"]
    project, team = context.get("project"), context.get("team")
    own = Membership.objects.filter(user_id=request.user.pk).select_related("team").order_by("team__name")
    match = request.resolver_match
    return {
        "request": request,
        "user": request.user,
        "project": project,
        "team": team or current_team(request),
        "memberships": list(own),
        "part": _PROJECT_PARTS.get(match.namespace, "overview") if match and project else "",
        "view_name": match.view_name if match else "",
    }


@register.inclusion_tag("components/quota.html", takes_context=True)
def quota_notice(context: RequestContext) -> dict[str, Any]:
    """The warning that the page's team has used most or all of its month's requests."""
    team = context.get("team")
    return {"team": team, "may": context.get("may"), "notices": quota.notices_of(team) if team else []}
