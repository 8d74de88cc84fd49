"""The form that makes a dataset of an upload."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.datasets.actions import ROLES
from apps.datasets.kinds import WORDS
from apps.datasets.models import Dataset, Kind
from apps.datasets.serializers import ChangesIn
from workers.contracts.kinds import KINDS
from workers.fetch.policy import MAX_URL

TITLES = {
    "text": _("Text"),
    "text_pair": _("Second text"),
    "label": _("Label"),
    "split": _("Split"),
    "user": _("User"),
    "item": _("Item"),
    "rating": _("Rating"),
    "timestamp": _("Time"),
}
# What to say where nothing is chosen for a role that is needed.
MISSING = {
    "label": _("Choose the column with the answer that the model is to learn. If there is none, add one to your file."),
}
NEEDED: dict[str, tuple[str, ...]] = {name: kind.needed for name, kind in KINDS.items()}
# What may separate several labels in a cell.
SEPARATORS = (("", _("One label each")), ("|", _("Bars |")), (";", _("Semicolons ;")), (",", _("Commas ,")))
# The order in which the form asks.
ORDER = ("text", "text_pair", "user", "label", "item", "rating", "timestamp", "split")


class ImportForm(forms.Form):
    """Name, kind, and which column is what. A role's field is `<kind>-<role>`; only the chosen kind's count.

    Without `columns` nothing is asked of them: what cannot be looked at here, the import finds out by itself.
    """

    name = forms.CharField(label=_("Name"), max_length=Dataset._meta.get_field("name").max_length)
    kind = forms.ChoiceField(choices=Kind.choices)

    def __init__(self, *args: Any, columns: list[str], kinds: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["kind"].choices = [choice for choice in Kind.choices if choice[0] in kinds]  # type: ignore[attr-defined]
        self.kinds, self.columns = kinds, columns
        choices = [(name, name) for name in columns]
        for kind, role in self._roles():
            needed = role in NEEDED[kind]
            blank = _("Choose a column") if needed else _("None")
            self.fields[f"{kind}-{role}"] = forms.ChoiceField(
                label=TITLES[role], choices=[("", blank), *choices], required=False
            )

        for kind in self._separated():
            self.fields[f"{kind}-label_separator"] = forms.ChoiceField(
                label=_("Several labels, separated by"),
                choices=SEPARATORS,
                required=False,
                widget=forms.Select({"class": "form-select"}),
            )
            self.fields[f"{kind}-empty_label"] = forms.BooleanField(
                label=_("An empty cell means: none of them"),
                required=False,
                widget=forms.CheckboxInput({"class": "form-check-input"}),
            )

    def _separated(self) -> list[str]:
        return [kind for kind in self.kinds if "label_separator" in ROLES[kind]]

    def _roles(self) -> list[tuple[str, str]]:
        kinds = self.kinds if self.columns else []
        return [(kind, role) for kind in kinds for role in ORDER if role in ROLES[kind]]

    def parts(self) -> list[dict[str, Any]]:
        """What the page draws: each kind with what it is for and the fields of its roles."""
        return [
            {
                "kind": Kind(kind),
                "words": WORDS[kind],
                "fields": [
                    {"role": role, "field": self[f"{kind}-{role}"], "needed": role in NEEDED[kind]}
                    for one, role in self._roles()
                    if one == kind
                ],
                "separator": self[f"{kind}-label_separator"] if kind in self._separated() else None,
                "empty": self[f"{kind}-empty_label"] if kind in self._separated() else None,
            }
            for kind in self.kinds
        ]

    def clean(self) -> dict[str, Any]:
        """Collect `mapping`: role → column, of the chosen kind only."""
        values = super().clean() or {}
        kind = values.get("kind")
        if kind is None:
            return values
        mapping = {role: values.get(f"{kind}-{role}") for one, role in self._roles() if one == kind}
        for role in NEEDED[kind] if self.columns else ():
            if not mapping.get(role):
                self.add_error(f"{kind}-{role}", MISSING.get(role, _("Which column is it?")))
        values["mapping"] = {role: column for role, column in mapping.items() if column}
        if mapping.get("text_pair") == "" and self.initial.get(f"{kind}-text_pair"):
            # Left out it would be guessed again: somebody saw the guess and said that there is none.
            values["mapping"]["text_pair"] = ""
        taken: set[str] = set()
        for role, column in values["mapping"].items():
            if column and column in taken:
                self.add_error(f"{kind}-{role}", _("This column is chosen already."))
            taken.add(column)
        if separator := values.get(f"{kind}-label_separator"):
            values["mapping"]["label_separator"] = separator
        if values.get(f"{kind}-empty_label"):
            values["mapping"]["empty_label"] = "none"
        return values


class NameForm(forms.Form):
    """What a dataset is called."""

    name = forms.CharField(label=_("Name"), max_length=Dataset._meta.get_field("name").max_length)


class AddressForm(forms.Form):
    """An address that a file is to be fetched from."""

    url = forms.CharField(
        label=_("Address"),
        max_length=MAX_URL,
        widget=forms.TextInput(attrs={"inputmode": "url", "spellcheck": "false"}),
    )


class RelabelForm(forms.Form):
    """Other labels for some rows of a version, as the browser collected them: see `ChangesIn`."""

    version = forms.IntegerField(min_value=1)
    changes = forms.JSONField()

    def clean_changes(self) -> list[dict[str, Any]]:
        """What the control API would take."""
        body = ChangesIn(data={"changes": self.cleaned_data["changes"]})
        if not body.is_valid():
            raise forms.ValidationError(_("These changes cannot be read."))
        return list(body.validated_data["changes"])
