"""The job form, made from a task template's Params: what the JSON Schema says is what the browser shows."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.core.validators import RegexValidator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from apps.datasets.models import Dataset, DatasetVersion
from apps.projects.models import Project
from apps.training import compute
from apps.training.plan import PlanForm, seconds_of_one
from apps.training.runners import training_queue
from workers.task_templates.base import TaskTemplate

_PREFIX = "param-"
_PRESETS = [
    ("fast", _("Fast"), _("A good first answer, usually within two minutes.")),
    ("balanced", _("Balanced"), _("Stronger, for a few minutes more. A sensible default.")),
    ("best", _("Best"), _("The strongest model. Takes the longest.")),
]


def ready_datasets(project: Project, kind: str | None = None) -> list[Dataset]:
    """Datasets of a project that have a ready version, newest first; of one kind if given."""
    rows = project.datasets.filter(versions__state=DatasetVersion.State.READY).distinct()
    return list(rows.filter(kind=kind) if kind else rows)


class JobForm(PlanForm):
    """Dataset, preset, name, and a field for each parameter of the template; what is left empty, the preset decides."""

    dataset = forms.ChoiceField(label=_("Dataset"))
    preset = forms.ChoiceField(label=_("Preset"), widget=forms.RadioSelect, initial="balanced")
    name = forms.CharField(label=_("Name"), max_length=120, required=False, help_text=_("Left empty: a name is made."))

    minutes = forms.FloatField(
        label=_("Stop after"),
        min_value=1,
        max_value=10_080,
        required=False,
        widget=forms.NumberInput(attrs={"step": "any"}),
        help_text=_("Minutes of computing. Training stops there and keeps the best model so far. Empty: six hours."),
    )
    cost = forms.DecimalField(
        label=_("Spend at most"), min_value=Decimal("0.01"), max_digits=10, decimal_places=2, required=False
    )

    def __init__(self, *args: Any, template: TaskTemplate, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        price = compute.price_of(training_queue())
        if price:
            here = {"price": f"{price.normalize():f}", "currency": settings.SLIPWAY_CURRENCY}
            self.fields["cost"].help_text = _("An hour costs %(price)s %(currency)s here. Lost time is free.") % here
        else:
            del self.fields["cost"]
        self.template = template
        self.offer(template)
        self.seconds_of_one = seconds_of_one(project, template.key)
        datasets = ready_datasets(project, template.kind)
        self.fields["dataset"].choices = [(d.pk, d.name) for d in datasets]  # type: ignore[attr-defined]
        offered = [(key, label) for key, label, _hint in _PRESETS if key in template.presets]
        self.fields["preset"].choices = offered  # type: ignore[attr-defined]
        schema = template.params.model_json_schema()
        self._advanced: list[str] = []
        self._basic: list[str] = []
        for name, part in schema.get("properties", {}).items():
            if part.get("plan"):
                continue
            field = parameter_field(part, schema.get("$defs", {}))
            if name in template.search_space:
                field.help_text += " " + _("A search tries %(values)s.") % {"values": template.search_space[name]}
            self.fields[_PREFIX + name] = field
            (self._advanced if part.get("advanced") else self._basic).append(_PREFIX + name)

    def basic(self) -> Iterator[forms.BoundField]:
        """The parameters that everybody may want to set."""
        return (self[name] for name in self._basic)

    def advanced(self) -> Iterator[forms.BoundField]:
        """The parameters for experts."""
        return (self[name] for name in self._advanced)

    @property
    def advanced_errors(self) -> bool:
        return any(name in self.errors for name in self._advanced)

    def presets(self) -> list[dict[str, Any]]:
        """What the presets are, for cards to choose from."""
        chosen = self["preset"].value()
        return [
            {"key": key, "label": label, "hint": hint, "chosen": key == chosen}
            for key, label, hint in _PRESETS
            if key in self.template.presets
        ]

    def limits(self) -> Iterator[forms.BoundField]:
        """How long it may compute and, where that has a price, what it may cost."""
        return (self[name] for name in ("minutes", "cost") if name in self.fields)

    def parameters(self) -> dict[str, Any]:
        """What the user set, by parameter name."""
        own = {
            name.removeprefix(_PREFIX): value
            for name, value in self.cleaned_data.items()
            if name.startswith(_PREFIX) and value not in (None, "")
        }
        return own | self.plan()

    def add_problems(self, problems: list[dict[str, Any]]) -> None:
        """Put the template's own complaints beside the fields they are about."""
        for problem in problems:
            parameter = str(problem["field"]).split(".")[0]
            name = {"tune": "search", "folds": "folds"}.get(parameter, _PREFIX + parameter)
            self.add_error(name if name in self.fields else None, problem["message"])


def parameter_field(part: dict[str, Any], definitions: dict[str, Any]) -> forms.Field:
    """A form field for one property of a JSON Schema; never required, since the preset has a value."""
    part = _without_null(part, definitions)
    common: dict[str, Any] = {
        "label": part.get("title", ""),
        "help_text": part.get("description", ""),
        "required": False,
    }
    if "enum" in part or "const" in part:
        values = part.get("enum", [part.get("const")])
        return forms.ChoiceField(choices=[("", _("As the preset says")), *((v, v) for v in values)], **common)
    if part.get("type") == "boolean":
        choices = [("", _("As the preset says")), ("true", _("Yes")), ("false", _("No"))]
        return forms.TypedChoiceField(choices=choices, coerce=lambda text: text == "true", empty_value=None, **common)
    bounds: dict[str, Any] = {"min_value": part.get("minimum"), "max_value": part.get("maximum")}
    if part.get("type") == "integer":
        return forms.IntegerField(widget=_number(part), **bounds, **common)
    if part.get("type") == "number":
        return forms.FloatField(widget=_number(part), **bounds, **common)
    if "pattern" in part:
        message = _("This is not written as it has to be; the note beside the field says how.")
        common["validators"] = [RegexValidator(part["pattern"], message)]
    return forms.CharField(
        max_length=part.get("maxLength", 400), widget=_Suggesting(part.get("examples", ())), **common
    )


class _Suggesting(forms.TextInput):
    """A text field that offers some values while one types."""

    def __init__(self, values: Iterable[str]) -> None:
        self._values = list(values)
        super().__init__(attrs={"placeholder": _("As the preset says"), "autocomplete": "off", "spellcheck": "false"})

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """The field, and the list that it names."""
        options = format_html_join("", '<option value="{}"></option>', ((one,) for one in self._values))
        field = super().render(name, value, {**(attrs or {}), "list": f"{name}-values"}, renderer)
        return format_html('{}<datalist id="{}-values">{}</datalist>', field, name, options)


def _number(part: dict[str, Any]) -> forms.NumberInput:
    return forms.NumberInput(attrs={"placeholder": _("As the preset says"), "step": "any"})


def _without_null(part: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of an optional field's value: what `anyOf` offers beside null, with `$ref` followed."""
    for option in part.get("anyOf", []):
        if option.get("type") != "null":
            part = {**part, **option}
            break
    if "$ref" in part:
        part = {**definitions[part["$ref"].rsplit("/", 1)[-1]], **part}
    return part
