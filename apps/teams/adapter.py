"""How allauth makes accounts here: with each new account comes a team of its own."""

from allauth.account.adapter import DefaultAccountAdapter
from django import forms
from django.db import transaction
from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from apps.teams import actions
from apps.teams.models import User


class TeamFields(forms.Form):
    """Fields that sign-up asks for beside address and password."""

    name = forms.CharField(
        label=_("Your name"),
        max_length=120,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    team_name = forms.CharField(
        label=_("Team"),
        max_length=120,
        required=False,
        help_text=_("Leave it empty to start with a team under your own name."),
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )
    field_order = ("email", "name", "team_name", "password1", "password2")

    def signup(self, request: HttpRequest, user: User) -> None:
        """Called by allauth after `Adapter.save_user`, which has done everything."""


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts are addresses; a new one starts as the owner of a team."""

    def save_user(self, request: HttpRequest, user: User, form: forms.BaseForm, commit: bool = True) -> User:
        """Save the account and its team, both or none."""
        with transaction.atomic():
            user.name = form.cleaned_data.get("name", "").strip()
            saved: User = super().save_user(request, user, form, commit)
            if commit:
                actions.create_team(actor=saved, name=form.cleaned_data.get("team_name", ""))
        return saved

    def populate_username(self, request: HttpRequest, user: User) -> None:
        """There are no user names."""

    def is_safe_url(self, url: str | None) -> bool:
        """Whether `next` stays on the host that was asked; other hosts that Django answers to are not it."""
        return bool(url_has_allowed_host_and_scheme(url, allowed_hosts={self.request.get_host()}))
