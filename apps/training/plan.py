"""The part of the job form that says how often to train: a search for better settings, folds."""

from collections.abc import Iterator
from typing import Any, Final

from django import forms
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.projects.models import Project
from apps.training import live
from apps.training.models import Job
from workers.task_templates.base import TaskTemplate

_SEARCHES: Final = [
    ("", _("No search"), _("One training, with the settings of the preset and your own.")),
    (
        "trials",
        _("Trials"),
        _("So many trainings, each with other settings. Those worse than most are given up early."),
    ),
    ("minutes", _("Minutes"), _("The same, for as long as you say. The best so far is kept when the time is over.")),
]
_FOLDS: Final = [
    ("0", _("Off"), _("One training on the given split.")),
    ("5", _("5 folds"), _("Five more trainings: says how good the model is on average, and how much that varies.")),
    ("10", _("10 folds"), _("Ten more trainings: for small data, where one split is a matter of luck.")),
]
DEFAULT_TRIALS: Final = 20


class PlanForm(forms.Form):
    """Fields for `tune`, `folds` and `average_folds`, as far as the template has them."""

    search = forms.ChoiceField(
        label=_("Search"), choices=[(key, label) for key, label, _hint in _SEARCHES], required=False
    )
    search_amount = forms.IntegerField(
        label=_("How many trials or minutes"), min_value=1, max_value=1000, required=False, initial=DEFAULT_TRIALS
    )
    folds = forms.ChoiceField(
        label=_("Cross-validation"),
        choices=[(key, label) for key, label, _hint in _FOLDS],
        required=False,
        initial="0",
    )
    average_folds = forms.BooleanField(label=_("Average the folds' models into the result"), required=False)

    def offer(self, template: TaskTemplate) -> None:
        """Leave out what the template cannot do."""
        if not template.search_space:
            del self.fields["search"], self.fields["search_amount"]
        if "folds" not in template.params.model_fields:
            del self.fields["folds"], self.fields["average_folds"]

    def clean(self) -> dict[str, Any]:
        """A search needs an amount."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("search") and not cleaned.get("search_amount") and "search_amount" not in self.errors:
            self.add_error("search_amount", _("Say how many."))
        return cleaned

    def searches(self) -> Iterator[dict[str, Any]]:
        """The kinds of search, for cards to choose from."""
        return self._cards("search", _SEARCHES)

    def fold_choices(self) -> Iterator[dict[str, Any]]:
        """The numbers of folds, for cards to choose from."""
        return self._cards("folds", _FOLDS)

    def _cards(self, field: str, choices: list[tuple[str, Any, Any]]) -> Iterator[dict[str, Any]]:
        if field not in self.fields:
            return
        chosen = self[field].value() or choices[0][0]
        for key, label, hint in choices:
            yield {"key": key, "label": label, "hint": hint, "chosen": key == chosen}

    def plan(self) -> dict[str, Any]:
        """The parameters that these fields stand for; what is off is left out."""
        asked = self.cleaned_data
        plan: dict[str, Any] = {}
        if asked.get("search"):
            plan["tune"] = {asked["search"]: asked["search_amount"]}
        if asked.get("folds", "0") not in ("", "0"):
            plan["folds"] = int(asked["folds"])
            # The box is hidden where there are no folds, and says nothing then.
            if asked.get("average_folds"):
                plan["average_folds"] = True
        return plan


def seconds_of_one(project: Project, template: str) -> float | None:
    """How long the newest training of this task took, one without a search and folds; None where there is none."""
    plain = ~(Q(parameters__has_key="tune") | Q(parameters__has_key="folds"))
    newest = project.jobs.filter(plain, template=template, state=Job.State.SUCCEEDED).first()
    return live.situation(newest).run_seconds if newest else None
