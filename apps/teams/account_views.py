"""Pages about the user's own account."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.core.forms import attempt
from apps.core.pages import SignedInRequest, go, page
from apps.teams import actions
from apps.teams.forms import ProfileForm, TokenForm
from workers.contracts.errors import UserError


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: SignedInRequest) -> HttpResponse:
    """The user's name."""
    form = ProfileForm(request.POST or None, instance=request.user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, _("Saved."))
        return go(request, reverse("teams:account"))
    return page(request, "teams/account.html", form=form, status=422 if form.errors else 200)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: SignedInRequest) -> HttpResponse:
    """Personal tokens for the control API. A new one is shown this once."""
    form = TokenForm(request.POST or None)
    secret = None
    if request.method == "POST" and form.is_valid():
        made = attempt(form, lambda: actions.create_personal_token(actor=request.user, **form.cleaned_data))
        if made:
            secret, form = made[1], TokenForm()
    return page(
        request,
        "teams/tokens.html",
        fragment="teams/_tokens.html",
        tokens=request.user.personal_tokens.filter(revoked=None),
        now=timezone.now(),
        form=form,
        secret=secret,
        status=422 if form.errors and not request.htmx else 200,
    )


@login_required
@require_POST
def revoke(request: SignedInRequest, token_id: str) -> HttpResponse:
    """End one of the user's tokens."""
    token = request.user.personal_tokens.filter(pk=token_id).first()
    if token is None:
        raise UserError("not_found")
    actions.revoke_personal_token(actor=request.user, token=token)
    messages.success(request, _("The token %(name)s is revoked.") % {"name": token.name})
    return go(request, reverse("teams:tokens"))
