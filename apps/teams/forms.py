"""Forms about teams, people and keys."""

from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from apps.core.forms import ExpiryField
from apps.endpoints.models import Endpoint
from apps.teams.models import ApiKey, Role, Team, User


class TeamForm(forms.ModelForm):
    """A team's name."""

    class Meta:
        model = Team
        fields = ("name",)


class ProfileForm(forms.ModelForm):
    """What others see of a user."""

    class Meta:
        model = User
        fields = ("name",)
        help_texts: ClassVar = {"name": _("What your team sees beside your work.")}


class InviteForm(forms.Form):
    """Somebody to invite, with a role that the inviter may give."""

    email = forms.EmailField(
        label=_("Email address"), widget=forms.EmailInput(attrs={"autocomplete": "off", "data-focus": ""})
    )
    role = forms.ChoiceField(label=_("Role"), initial=Role.MEMBER)

    def __init__(self, *args: Any, roles: list[tuple[str, Any]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = roles  # type: ignore[attr-defined]


class TokenForm(forms.Form):
    """A personal token."""

    name = forms.CharField(
        label=_("Name"),
        max_length=120,
        help_text=_("Where it is used, for example “laptop” or “nightly import”."),
        widget=forms.TextInput(attrs={"data-focus": ""}),
    )
    expires = ExpiryField()


def team_endpoints(team: Team) -> QuerySet[Endpoint]:
    """The endpoints of a team that a key may open."""
    return Endpoint.objects.filter(project__team=team, deleted=None).order_by("name")


class KeyForm(forms.Form):
    """An API key: for all endpoints of the team, or for some."""

    name = forms.CharField(
        label=_("Name"),
        max_length=ApiKey._meta.get_field("name").max_length,
        help_text=_("The program that will use it. Usage is counted per key."),
        widget=forms.TextInput(attrs={"data-focus": ""}),
    )
    endpoints = forms.ModelMultipleChoiceField(
        label=_("Endpoints"),
        queryset=Endpoint.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Choose none to open all of them, also those to come."),
    )
    rate_limit = forms.FloatField(label=_("Requests per second"), required=False, min_value=0.01, max_value=100_000)
    expires = ExpiryField()
    origins = forms.CharField(
        label=_("Web origins"),
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 2, "placeholder": "https://shop.example", "spellcheck": "false"}),
        help_text=_(
            "Pages that may use the key in a browser, one per line. Whoever opens such a page can read the key."
        ),
    )

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = team_endpoints(team)
        self.fields["endpoints"].queryset = own  # type: ignore[attr-defined]
        if not own.exists():
            del self.fields["endpoints"]
