"""The form that has a file predicted: which column is what, and how the answers shall look."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.predictions.actions import roles
from apps.predictions.models import Prediction
from apps.registry.models import ModelVersion

_ROLE = "role-"
# Roles without which a row asks nothing; items may stand for the user.
_NEEDED = ("text", "text_pair", "user")
TITLES = {"text": _("Text"), "text_pair": _("Second text"), "user": _("User"), "items": _("Items")}


class PredictionForm(forms.Form):
    """A field for each role of the model's kind (of a table: each of its columns), filled with what the file has."""

    variant = forms.ChoiceField(label=_("Variant of the model"), required=False)
    format = forms.ChoiceField(
        label=_("Format of the answers"),
        choices=[("", _("As the file")), *Prediction.Format.choices],
        required=False,
    )
    scores = forms.BooleanField(label=_("The score of every class, too"), required=False)
    k = forms.IntegerField(
        label=_("How many items"), min_value=1, max_value=1000, required=False, help_text=_("Left empty: ten.")
    )

    def __init__(self, data: Any, *, model: ModelVersion, found: dict[str, Any], choose_variant: bool = True) -> None:
        names = [column["name"] for column in found["columns"]] if found["rows"] else []
        self._known = roles(model)
        self._needed = [role for role in self._known if role in _NEEDED] if names else []
        guessed = found["mapping_guesses"].get(model.kind, {}) if model.kind != "tabular" else {}
        alike = {_plain(name): name for name in reversed(names)}
        initial = {_ROLE + role: guessed.get(role) or alike.get(_plain(role), "") for role in self._known}
        if len(names) == len(self._needed) == 1 and not any(initial.values()):
            initial[_ROLE + self._needed[0]] = names[0]
        super().__init__(data, initial=initial)
        self.kind, self.columns = model.kind, names
        variants = model.deployable_variants if choose_variant else []
        self.fields["variant"].choices = [("", _("The model itself")), *((name, name) for name in variants)]  # type: ignore[attr-defined]
        if not variants:
            del self.fields["variant"]
        del self.fields["k" if model.kind != "recommendation" else "scores"]
        if model.kind == "image":
            self.fields["format"].choices = Prediction.Format.choices  # type: ignore[attr-defined]
        for role in self._known if names else []:
            title = TITLES.get(role, role) if model.kind != "tabular" else role
            blank = _("Let Slipway choose") if initial[_ROLE + role] else _("Not in the file")
            if role in self._needed and not initial[_ROLE + role]:
                blank = _("Choose a column")
            choices = [("", blank), *((name, name) for name in names)]
            self.fields[_ROLE + role] = forms.ChoiceField(label=title, choices=choices, required=False)

    def roles(self) -> list[forms.BoundField]:
        """The fields that say which column is what."""
        return [self[_ROLE + role] for role in self._known if _ROLE + role in self.fields]

    @property
    def unmatched(self) -> int:
        """How many of the model's columns the file does not seem to have."""
        return sum(not field.value() for field in self.roles()) if self.kind == "tabular" else 0

    def clean(self) -> dict[str, Any]:
        """Collect `mapping`."""
        values = super().clean() or {}
        mapping = {role: values.get(_ROLE + role) for role in self._known}
        values["mapping"] = {role: column for role, column in mapping.items() if column}
        if {"user", "items"} <= set(values["mapping"]):
            self.add_error(f"{_ROLE}items", _("Choose either a user or items."))
        self._require_columns(values["mapping"])
        return values

    def _require_columns(self, mapping: dict[str, str]) -> None:
        """What is left open has to be something that can be told from the file."""
        told = {role for role in self._known if self.initial.get(_ROLE + role)} | set(mapping)
        for role in self._needed:
            if role not in told and not (role == "user" and "items" in told):
                self.add_error(_ROLE + role, _("Slipway cannot tell which column this is: choose it."))
        if self.kind == "tabular" and self.columns and not told:
            self.add_error(None, _("The file has none of the columns that the model learned from."))


def _plain(name: str) -> str:
    """A column's name without case and separators, by which a table's columns are found."""
    return "".join(character for character in name.casefold() if character.isalnum())
