"""Pages of endpoints: the list, the form, one endpoint with its playground, snippets, keys, revisions and figures."""

import json
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpResponse, QueryDict
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.core.forms import attempt
from apps.core.pages import SignedInRequest, go, page
from apps.endpoints import actions, examples, explanations, playground, snippets, status
from apps.endpoints.access import endpoint_for
from apps.endpoints.forms import DeployForm, EndpointForm, PlaygroundForm, deployable
from apps.endpoints.models import Endpoint
from apps.projects.access import project_for
from apps.teams.models import ApiKey
from apps.usage import summary
from workers.contracts.errors import SlipwayError


@login_required
@require_GET
def endpoints(request: SignedInRequest, project_id: str) -> HttpResponse:
    """The endpoints of a project with what they answered today."""
    project = project_for(request.user, project_id)
    rows = [
        {"endpoint": endpoint, "state": status.endpoint_state(endpoint), "today": summary.today(endpoint)}
        for endpoint in project.endpoints.filter(deleted=None)
    ]
    return page(request, "endpoints/endpoints.html", project=project, rows=rows, models=deployable(project))


@login_required
@require_http_methods(["GET", "POST"])
def new(request: SignedInRequest, project_id: str) -> HttpResponse:
    """Deploy a model at a new address."""
    project = project_for(request.user, project_id, need="write")
    models = deployable(project)
    wanted = next((model for model in models if model.pk == request.GET.get("model")), None)
    initial = {"model": wanted.pk, "name": project.name} if wanted else {"name": project.name}
    form = EndpointForm(request.POST or None, models=models, initial=initial)
    if request.method == "POST" and form.is_valid():
        asked = {"name": form.cleaned_data["name"], "model": form.chosen()}
        made = attempt(form, lambda: actions.create_endpoint(actor=request.user, project=project, **asked))
        if made:
            return go(request, reverse("endpoints:endpoint", args=[made.pk]))
    code = 422 if form.errors else 200
    return page(request, "endpoints/new.html", project=project, form=form, models=models, status=code)


@login_required
@require_GET
def endpoint(request: SignedInRequest, endpoint_id: str) -> HttpResponse:
    """One endpoint. The fragment is its state and figures, which renew themselves."""
    found = endpoint_for(request.user, endpoint_id)
    revisions = status.revisions(found)
    measured = summary.measured_split(found)
    example = examples.example_input(found)
    return page(
        request,
        "endpoints/endpoint.html",
        project=found.project,
        fragment="endpoints/_live.html",
        endpoint=found,
        state=status.endpoint_state(found),
        revisions=[{"status": row, "measured": measured.get(row.revision.model_id)} for row in revisions],
        can_roll_back=sum(row.revision.previous_traffic for row in revisions) == 100,
        today=summary.today(found),
        suggestions=examples.suggestions(found),
        columns=examples.columns(found),
        deploy_form=DeployForm(models=deployable(found.project, found.template)),
        address=snippets.predict_url(found),
        snippets=snippets.snippets(found, example),
        keys=_keys(found),
    )


def _keys(endpoint: Endpoint) -> QuerySet[ApiKey]:
    """The keys that open an endpoint now, the playground's own too."""
    opens = Q(all_endpoints=True) | Q(endpoints=endpoint)
    holds = Q(expires=None) | Q(expires__gt=timezone.now())
    return endpoint.project.team.api_keys.filter(opens, holds, revoked=None).distinct()


@login_required
@require_POST
def try_it(request: SignedInRequest, endpoint_id: str) -> HttpResponse:
    """Ask the endpoint once, and show the answer and what was sent."""
    found = endpoint_for(request.user, endpoint_id, need="write")
    form = PlaygroundForm(request.POST, request.FILES)
    context: dict[str, Any] = {"endpoint": found}
    try:
        value = _input(found, form, request.POST)
        answer = playground.ask(
            actor=request.user,
            session=request.session,
            endpoint=found,
            value=value,
            explain=bool(form.cleaned_data.get("explain")),
        )
        context |= {"answer": answer, "raw": json.dumps(answer.body, indent=2, ensure_ascii=False)}
        prediction = (answer.body.get("predictions") or [{}])[0]
        context |= _shown(prediction) | {"explained": explanations.shown(prediction, value)}
    except SlipwayError as error:
        context["problem"] = error
    return page(request, "endpoints/_answer.html", project=found.project, **context)


def _shown(prediction: dict[str, Any]) -> dict[str, Any]:
    """The prediction and, of a classifier's, the likeliest labels."""
    scores: dict[str, float] = prediction.get("scores") or {}
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])[:5]
    return {"prediction": prediction, "ranked": ranked}


def _input(endpoint: Endpoint, form: PlaygroundForm, sent: QueryDict) -> Any:
    form.is_valid()
    return playground.READ[endpoint.kind](form.cleaned_data, sent)


@login_required
@require_POST
def deploy(request: SignedInRequest, endpoint_id: str) -> HttpResponse:
    """Put another model on the endpoint."""
    found = endpoint_for(request.user, endpoint_id, need="write")
    form = DeployForm(request.POST, models=deployable(found.project, found.template))
    if not form.is_valid():
        message = next(iter(form.errors.values()))[0]
        raise SlipwayError("invalid", str(message))
    actions.deploy_model(actor=request.user, endpoint=found, model=form.chosen(), traffic=form.cleaned_data["traffic"])
    return go(request, reverse("endpoints:endpoint", args=[found.pk]))


@login_required
@require_POST
def roll_back(request: SignedInRequest, endpoint_id: str) -> HttpResponse:
    """Bring back the shares before the last deployment."""
    found = endpoint_for(request.user, endpoint_id, need="write")
    actions.roll_back(actor=request.user, endpoint=found)
    return go(request, reverse("endpoints:endpoint", args=[found.pk]))


@login_required
@require_POST
def delete(request: SignedInRequest, endpoint_id: str) -> HttpResponse:
    """Take the endpoint off the air."""
    found = endpoint_for(request.user, endpoint_id, need="admin")
    actions.delete_endpoint(actor=request.user, endpoint=found)
    return go(request, reverse("endpoints:endpoints", args=[found.project_id]))
