"""Pages about who is in a team."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.core.forms import attempt
from apps.core.pages import SignedInRequest, go, page
from apps.teams import actions
from apps.teams.access import invitation_for, membership_for, role_of, team_for
from apps.teams.forms import InviteForm
from apps.teams.models import Invitation, Role, Team
from workers.contracts import keys
from workers.contracts.errors import UserError


def _roles(actor: Any, team: Team) -> list[tuple[str, Any]]:
    """The roles that the actor may give: none above their own."""
    own = role_of(actor, team.pk)
    return [choice for choice in Role.choices if own == Role.OWNER or choice[0] != Role.OWNER]


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def members(request: SignedInRequest, team_id: str) -> HttpResponse:
    """Who is here and who is invited. A new invitation shows its link this once."""
    team = team_for(request.user, team_id, need="admin" if request.method == "POST" else "read")
    roles = _roles(request.user, team)
    form = InviteForm(request.POST or None, roles=roles)
    link = invited = None
    if request.method == "POST" and form.is_valid():
        made = attempt(form, lambda: actions.invite_member(actor=request.user, team=team, **form.cleaned_data))
        if made:
            invited = made[0]
            link = request.build_absolute_uri(reverse("teams:invitation", args=[made[1]]))
            form = InviteForm(roles=roles)
    return page(
        request,
        "teams/members.html",
        fragment="teams/_members.html",
        team=team,
        memberships=team.memberships.select_related("user"),
        invitations=team.invitations.open().select_related("invited_by"),
        roles=roles,
        form=form,
        link=link,
        invited=invited,
        status=422 if form.errors and not request.htmx else 200,
    )


@login_required
@require_POST
def role(request: SignedInRequest, team_id: str, membership_id: str) -> HttpResponse:
    """Give a member another role."""
    membership = membership_for(request.user, team_id, membership_id)
    chosen = request.POST.get("role", "")
    if chosen not in Role.values:
        raise UserError("invalid", fields=[{"field": "role", "message": "unknown role"}])
    actions.change_role(actor=request.user, membership=membership, role=chosen)
    messages.success(
        request, _("%(name)s is now %(role)s.") % {"name": membership.user.display_name, "role": Role(chosen).label}
    )
    return go(request, reverse("teams:members", args=[team_id]))


@login_required
@require_POST
def remove(request: SignedInRequest, team_id: str, membership_id: str) -> HttpResponse:
    """Take a member out of the team; without being an admin, only oneself."""
    membership = membership_for(request.user, team_id, membership_id, need="read")
    actions.remove_member(actor=request.user, membership=membership)
    if membership.user == request.user:
        messages.success(request, _("You have left %(team)s.") % {"team": membership.team.name})
        return go(request, reverse("core:home"))
    messages.success(request, _("%(name)s is no longer in the team.") % {"name": membership.user.display_name})
    return go(request, reverse("teams:members", args=[team_id]))


@login_required
@require_POST
def withdraw(request: SignedInRequest, team_id: str, invitation_id: str) -> HttpResponse:
    """Make an open invitation worthless."""
    found = invitation_for(request.user, team_id, invitation_id)
    actions.withdraw_invitation(actor=request.user, invitation=found)
    messages.success(request, _("The invitation of %(email)s is withdrawn.") % {"email": found.email})
    return go(request, reverse("teams:members", args=[team_id]))


@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: SignedInRequest, token: str) -> HttpResponse:
    """Where an invitation's link leads: sign in or up, then join."""
    if request.method == "POST" and request.user.is_authenticated:
        membership = actions.accept_invitation(actor=request.user, token=token)
        messages.success(request, _("Welcome to %(team)s.") % {"team": membership.team.name})
        return go(request, reverse("teams:home", args=[membership.team_id]))
    found = Invitation.objects.select_related("team", "invited_by").filter(digest=keys.digest(token)).first()
    if found is None or not found.is_open:
        raise UserError("invitation_invalid")
    return render(request, "teams/invitation.html", {"invitation": found, "here": request.path})
