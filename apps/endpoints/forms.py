"""Forms of endpoints."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.endpoints import rollouts
from apps.endpoints.models import Endpoint
from apps.projects.models import Project
from apps.registry.models import ModelVersion


def deployable(project: Project, endpoint: Endpoint | None = None) -> list[ModelVersion]:
    """Models of a project with a passed certificate, newest first; those that fit the endpoint if one is given."""
    rows = project.model_versions.deployable().defer("report")
    answering = endpoint and endpoint.answering_model
    return [model for model in rows if not answering or not answering.misfit(model)]


class _ModelChoice(forms.Form):
    model = forms.ChoiceField(label=_("Model"))

    def __init__(self, *args: Any, models: list[ModelVersion], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._models = {model.pk: model for model in models}
        # What stands for and against each variant, for whoever chooses.
        self.variants = [(model, model.variant(name)) for model in models for name in model.deployable_variants]
        choices = [
            choice
            for m in models
            for choice in (
                (m.pk, f"#{m.number} {m.name}"),
                *((f"{m.pk}:{name}", f"#{m.number} {m.name} · {name}") for name in m.deployable_variants),
            )
        ]
        self.fields["model"].choices = choices  # type: ignore[attr-defined]

    def clean_model(self) -> dict[str, Any]:
        """The model version that was chosen and the form of it, as actions take them."""
        model, _colon, variant = self.cleaned_data["model"].partition(":")
        return {"model": self._models[model], "variant": variant}


class EndpointForm(_ModelChoice):
    """A new endpoint for a model."""

    name = forms.CharField(label=_("Name"), max_length=120, help_text=_("It becomes part of the address."))
    field_order = ("name", "model")


class DeployForm(_ModelChoice):
    """Another model on an endpoint, at a share of its traffic; how it is watched beside what answers now."""

    traffic = forms.IntegerField(
        label=_("Share of traffic"),
        min_value=0,
        max_value=100,
        initial=100,
        help_text=_("In percent. 100 replaces what answers now; less tries the model beside it."),
    )
    shadow = forms.IntegerField(
        label=_("Copies of requests"),
        required=False,
        min_value=0,
        max_value=100,
        help_text=_("In percent. Answered by the new model too and compared, never sent, not billed."),
    )
    max_error_percent = forms.FloatField(label=_("Errors above, %"), required=False, min_value=0, max_value=100)
    max_p99_ms = forms.FloatField(label=_("p99 above, ms"), required=False, min_value=0.001, max_value=600_000)
    requests = forms.IntegerField(
        label=_("Over answers"), required=False, min_value=1, max_value=rollouts.MAX_REQUESTS, initial=100
    )

    def rule(self) -> rollouts.Rule | None:
        """The rule that was set, if any."""
        asked = self.cleaned_data
        return rollouts.Rule.checked(asked["requests"] or 100, asked["max_error_percent"], asked["max_p99_ms"])


class PlaygroundForm(forms.Form):
    """One input to try. Which field counts depends on the endpoint's kind."""

    text = forms.CharField(required=False, max_length=20_000, strip=False, widget=forms.Textarea(attrs={"rows": 4}))
    image = forms.FileField(required=False)
    user = forms.CharField(required=False, max_length=400)
    items = forms.CharField(required=False, max_length=20_000)
    k = forms.IntegerField(required=False, min_value=1, max_value=100, initial=10)
    explain = forms.BooleanField(required=False)
    candidate = forms.BooleanField(required=False)
