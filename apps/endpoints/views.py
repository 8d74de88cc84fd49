"""Pages of endpoints: the list, the form, one endpoint with its playground, snippets, keys, revisions and figures."""

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Prefetch, Q, QuerySet, prefetch_related_objects
from django.http import HttpResponse, QueryDict
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.core.forms import attempt
from apps.core.pages import SignedInRequest, go, is_fragment, page
from apps.endpoints import actions, examples, explanations, playground, rollouts, snippets, status, traffic
from apps.endpoints.access import endpoint_for
from apps.endpoints.forms import DeployForm, EndpointForm, PlaygroundForm, deployable
from apps.endpoints.models import Endpoint, Revision, Rollout
from apps.projects.access import project_for
from apps.teams.models import ApiKey
from apps.usage import reports, summary
from workers.contracts.errors import SlipwayError

# A rollout ends and the shares are set in one transaction.
_AT_ONCE = timedelta(seconds=5)


@login_required
@require_GET
def endpoints(request: SignedInRequest, project_id: str) -> HttpResponse:
    """The endpoints of a project with what they answered today."""
    project = project_for(request.user, project_id)
    processes, today = status.serving_processes(), summary.today_of(project)
    rows = [
        {
            "endpoint": endpoint,
            "state": status.worst(status.revisions(endpoint, processes)),
            "today": today.get(endpoint.pk, reports.NOTHING),
        }
        for endpoint in project.endpoints.filter(deleted=None).prefetch_related("revisions")
    ]
    models = project.model_versions.deployable().exists()
    return page(request, "endpoints/endpoints.html", project=project, rows=rows, models=models)


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
        asked = {"name": form.cleaned_data["name"], **form.cleaned_data["model"]}
        made = attempt(form, lambda: actions.create_endpoint(actor=request.user, project=project, **asked))
        if made:
            return go(request, reverse("endpoints:endpoint", args=[made.pk]))
    code = 422 if form.errors else 200
    return page(request, "endpoints/new.html", project=project, form=form, models=models, status=code)


@login_required
@require_GET
def endpoint(request: SignedInRequest, endpoint_id: str) -> HttpResponse:
    """One endpoint. The fragment is its state and figures, which renew themselves."""
    return _show(request, endpoint_for(request.user, endpoint_id))


def _show(request: SignedInRequest, found: Endpoint, deploy_form: DeployForm | None = None) -> HttpResponse:
    """The page of an endpoint; 422 with a form that did not do."""
    light = Revision.objects.select_related("model").defer("model__report")
    prefetch_related_objects([found], Prefetch("revisions", light))
    revisions = status.revisions(found, status.serving_processes())
    rollout = rollouts.latest(found)
    trial = rollout and _trial(rollout, revisions)
    # After a trial that was taken back, a rollback would bring the candidate back: nobody means that.
    is_back = bool(trial and trial["is_news"] and rollout and rollout.state == Rollout.State.ROLLED_BACK)
    context: dict[str, Any] = {
        "endpoint": found,
        "state": status.worst(revisions),
        "revisions": revisions,
        "split": traffic.measured(found),
        "rollout": trial,
        "can_roll_back": sum(row.revision.previous_traffic for row in revisions) == 100 and not is_back,
        "today": summary.today(found),
    }
    # The fragment renews itself every few seconds: what stands around it is not made for it.
    if not is_fragment(request):
        context |= _around(found)
        context["deploy_form"] = deploy_form or _deploy_form(found, revisions)
    code = 422 if deploy_form else 200
    page_of, live = "endpoints/endpoint.html", "endpoints/_live.html"
    return page(request, page_of, project=found.project, fragment=live, status=code, **context)


def _around(endpoint: Endpoint) -> dict[str, Any]:
    """The playground, the snippets and the keys."""
    pairs = examples.takes_pairs(endpoint)
    return {
        "suggestions": examples.suggestions(endpoint),
        "columns": examples.columns(endpoint),
        "address": snippets.predict_url(endpoint),
        "pairs": pairs,
        "snippets": snippets.snippets(endpoint, examples.example_input(endpoint), pairs=pairs),
        "keys": _keys(endpoint),
    }


def _deploy_form(endpoint: Endpoint, revisions: list[status.RevisionStatus]) -> DeployForm:
    """The newest model that is not on the endpoint is what somebody most likely came to deploy."""
    models = deployable(endpoint.project, endpoint)
    known = {row.revision.model_id for row in revisions}
    fresh = next((model.pk for model in models if model.pk not in known), None)
    return DeployForm(models=models, initial={"model": fresh} if fresh else {})


def _trial(rollout: Rollout, revisions: list[status.RevisionStatus]) -> dict[str, Any]:
    """What the page says of a rollout: the candidate beside its rule, what copies have shown, why it ended."""
    return {
        "is_running": rollout.state == Rollout.State.RUNNING,
        # Whether its end was the last that happened to the traffic.
        "is_news": rollout.ended and rollout.endpoint.shares_since <= rollout.ended + _AT_ONCE,
        "row": rollout,
        "candidate": next(row for row in revisions if row.revision.pk == rollout.candidate_id),
        "found": rollouts.findings(rollout),
        "copied": rollouts.copied(rollout),
        "compared": rollouts.compared(rollout),
        "why": rollouts.why(rollout),
    }


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
            candidate=bool(form.cleaned_data.get("candidate")),
        )
        # Who tries it here has no use for what programs are told to look up.
        hint = "" if answer.ok or answer.status == 422 else answer.body["error"]["hint"]
        context |= {"answer": answer, "hint": hint, "raw": json.dumps(answer.body, indent=2, ensure_ascii=False)}
        prediction = (answer.body.get("predictions") or [{}])[0]
        context |= _shown(prediction) | {"explained": explanations.shown(prediction, value)}
    except SlipwayError as error:
        context |= {"problem": error, "hint": "" if error.status == 422 else error.hint}
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
    form = DeployForm(request.POST, models=deployable(found.project, found))
    if form.is_valid():
        share, shadow = form.cleaned_data["traffic"], form.cleaned_data["shadow"] or 0
        how = {**form.cleaned_data["model"], "traffic": share, "shadow": shadow, "rule": form.rule()}
        if attempt(form, lambda: actions.deploy_model(actor=request.user, endpoint=found, **how)):
            return go(request, reverse("endpoints:endpoint", args=[found.pk]))
    return _show(request, found, form)


@login_required
@require_POST
def promote(request: SignedInRequest, endpoint_id: str) -> HttpResponse:
    """Give all traffic to the model on trial."""
    found = endpoint_for(request.user, endpoint_id, need="write")
    actions.promote_candidate(actor=request.user, endpoint=found)
    return go(request, reverse("endpoints:endpoint", args=[found.pk]))


@login_required
@require_POST
def roll_back(request: SignedInRequest, endpoint_id: str) -> HttpResponse:
    """Take back the model on trial, or bring back the shares before the last change."""
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
