"""Pages about API keys."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.core.forms import attempt
from apps.core.pages import SignedInRequest, go, page, paginate
from apps.endpoints.actions import create_api_key, revoke_api_key
from apps.teams.access import api_key_for, team_for
from apps.teams.forms import KeyForm, team_endpoints
from apps.teams.models import ApiKey, Team


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def keys(request: SignedInRequest, team_id: str) -> HttpResponse:
    """The team's API keys. A new one is shown this once."""
    team = team_for(request.user, team_id, need="admin" if request.method == "POST" else "read")
    # From an endpoint's page a key is wanted for it.
    asked = team_endpoints(team).filter(pk=request.GET.get("endpoint", "")).first()
    form = KeyForm(request.POST or None, team=team, initial={"endpoints": [asked.pk] if asked else []})
    secret = None
    if request.method == "POST" and form.is_valid():
        made = attempt(form, lambda: _create(request, team, form))
        if made:
            secret, form = made[1], KeyForm(team=team)
    own = team.api_keys.prefetch_related("endpoints").select_related("created_by").order_by("-revoked", "-created")
    rows = paginate(request, own)  # the playground leaves one an hour and user
    return page(
        request,
        "teams/keys.html",
        fragment="teams/_keys.html",
        team=team,
        rows=rows,
        keys=rows.object_list,
        now=timezone.now(),
        form=form,
        secret=secret,
        asked=asked,
        status=422 if form.errors and not request.htmx else 200,
    )


def _create(request: SignedInRequest, team: Team, form: KeyForm) -> tuple[ApiKey, str]:
    wanted = form.cleaned_data
    chosen = list(wanted.get("endpoints") or [])
    return create_api_key(
        actor=request.user,
        team=team,
        name=wanted["name"],
        endpoints=chosen or None,
        expires=wanted["expires"],
        rate_limit=wanted["rate_limit"],
        origins=wanted["origins"].split(),
    )


@login_required
@require_POST
def revoke(request: SignedInRequest, key_id: str) -> HttpResponse:
    """End a key, within a second everywhere."""
    key = api_key_for(request.user, key_id, need="admin")
    revoke_api_key(actor=request.user, key=key)
    messages.success(request, _("The key %(name)s is revoked.") % {"name": key.name})
    return go(request, reverse("teams:keys", args=[key.team_id]))
