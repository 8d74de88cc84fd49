"""The front door."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from apps.core.pages import current_team

EXAMPLE = """\
$ curl $SLIPWAY_URL/v1/endpoints/tickets/predict \\
    -H "Authorization: Bearer $SLIPWAY_KEY" \\
    -H "Content-Type: application/json" \\
    -d '{"inputs": ["The invoice shows the wrong amount"]}'

{
  "predictions": [
    {"label": "billing", "score": 0.97}
  ],
  "model": {"number": 3}
}"""


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What Slipway is, for strangers; their team, for those who are signed in."""
    if not request.user.is_authenticated:
        return render(request, "core/landing.html", {"example": EXAMPLE})
    team = current_team(request)
    return redirect("teams:home", team.pk) if team else redirect("teams:new")
