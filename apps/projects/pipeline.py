"""From data to a hosted model: how far a project is, and what comes next."""

from dataclasses import dataclass
from typing import Literal

from django.db.models import Sum
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.core.templatetags.slipway import percent, short_number
from apps.datasets.models import DatasetVersion
from apps.projects.models import Project
from apps.registry.models import ModelVersion
from apps.registry.report import headline
from apps.training.models import Job
from apps.training.states import LIVE
from apps.usage.models import MinuteRollup
from apps.usage.quota import month_start

State = Literal["done", "active", "next", "failed", "later"]


@dataclass(slots=True)
class Step:
    """One stage of the pipeline. `action` and `target` are set on the stage to attend to now."""

    key: str
    title: str
    symbol: str
    url: str
    state: State = "later"
    text: str = ""
    action: str = ""
    target: str = ""

    def attend(self, state: State, action: str, target: str) -> None:
        """Make this the stage to attend to."""
        self.state, self.action, self.target = state, action, target


def steps(project: Project) -> list[Step]:
    """The five stages in order. The first that is not done carries the action; at the end the last does."""
    data = Step("data", _("Data"), "database", reverse("datasets:datasets", args=[project.pk]))
    train = Step("train", _("Train"), "bolt", reverse("training:jobs", args=[project.pk]))
    evaluate = Step("evaluate", _("Evaluate"), "chart-dots", reverse("registry:models", args=[project.pk]))
    deploy = Step("deploy", _("Deploy"), "rocket", reverse("endpoints:endpoints", args=[project.pk]))
    usage = Step("usage", _("Usage"), "chart-bar", reverse("usage:project", args=[project.pk]))
    found = [data, train, evaluate, deploy, usage]
    for step, look in zip(found, (_data, _train, _evaluate, _deploy, _usage), strict=True):
        look(project, step)
    if not any(step.action for step in found):
        usage.attend("done", _("See the usage"), usage.url)
    return found


def current(found: list[Step]) -> Step:
    """The stage to attend to."""
    return next(step for step in found if step.action)


def is_moving(found: list[Step]) -> bool:
    """Whether something runs, so that the page should be looked at again soon."""
    return any(step.state == "active" for step in found)


def _data(project: Project, step: Step) -> None:
    ready = project.datasets.filter(versions__state="ready").distinct().count()
    if ready:
        step.state = "done"
        step.text = ngettext("%(n)d dataset", "%(n)d datasets", ready) % {"n": ready}
        return
    versions = DatasetVersion.objects.filter(dataset__project=project, dataset__trashed=None)
    latest = versions.order_by("-created").first()
    if latest is None:
        step.text = _("Nothing yet")
        step.attend("next", _("Add data"), reverse("datasets:new", args=[project.pk]))
    elif latest.state == "processing":
        step.text = _("Importing")
        step.attend("active", _("Watch the import"), reverse("datasets:dataset", args=[latest.dataset_id]))
    else:
        step.text = _("The import failed")
        step.attend("failed", _("See what is wrong"), reverse("datasets:dataset", args=[latest.dataset_id]))


def _train(project: Project, step: Step) -> None:
    jobs = project.jobs.filter(kind=Job.Kind.TRAIN)
    running = jobs.filter(state__in=LIVE).first()
    if running:
        step.state = "active"
        step.text = _("Training, %(share)s") % {"share": percent(running.progress)}
    if project.model_versions.exists():
        if not running:
            count = jobs.filter(state=Job.State.SUCCEEDED).count()
            step.state, step.text = "done", ngettext("%(n)d training", "%(n)d trainings", count) % {"n": count}
        return
    if running:
        step.attend("active", _("Watch the training"), reverse("training:job", args=[running.pk]))
        return
    last = jobs.first()
    if last is not None and last.state == Job.State.FAILED:
        step.text = _("The training failed")
        step.attend("failed", _("See what to do"), reverse("training:job", args=[last.pk]))
        return
    dataset = project.datasets.filter(versions__state="ready").first()
    if dataset is not None:
        step.text = _("Ready to start")
        step.attend("next", _("Train a model"), f"{reverse('training:new', args=[project.pk])}?dataset={dataset.pk}")


def _evaluate(project: Project, step: Step) -> None:
    model = project.model_versions.light().first()
    if model is not None:
        step.state, step.text = "done", main_metric(model) or _("Measured")


def _deploy(project: Project, step: Step) -> None:
    count = project.endpoints.filter(deleted=None).count()
    if count:
        step.state, step.text = "done", ngettext("%(n)d endpoint", "%(n)d endpoints", count) % {"n": count}
        return
    model = project.model_versions.deployable().light().first()
    if model is not None:
        step.text = _("Model #%(number)d is ready") % {"number": model.number}
        step.attend("next", _("Deploy the model"), f"{reverse('endpoints:new', args=[project.pk])}?model={model.pk}")


def _usage(project: Project, step: Step) -> None:
    rollups = MinuteRollup.objects.filter(project_id=project.pk)
    # Those of all time become ever more, and the page of a project is renewed every few seconds.
    requests = rollups.filter(minute__gte=month_start()).aggregate(n=Sum("requests", default=0))["n"]
    if requests or rollups.exists():
        step.state = "done"
        words = ngettext("%(n)s request this month", "%(n)s requests this month", requests)
        step.text = words % {"n": short_number(requests)}
        return
    endpoint = project.endpoints.filter(deleted=None).first()
    if endpoint is not None:
        step.text = _("No requests yet")
        step.attend("next", _("Try the endpoint"), reverse("endpoints:endpoint", args=[endpoint.pk]))


def main_metric(model: ModelVersion) -> str:
    """The metric that decides, as people read it: "93.1 % accuracy"."""
    found = headline(model)
    value, name = found["value"], str(found["name"])
    if value is None:
        return ""
    return f"{percent(value, 1)} {name.lower()}" if "@" not in name else f"{value:.3f} {name}"
