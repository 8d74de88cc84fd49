"""What forms of all apps share."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from workers.contracts.errors import SlipwayError

Result = TypeVar("Result")


def attempt(form: forms.BaseForm, action: Callable[[], Result]) -> Result | None:
    """The action's result. Where it raises a SlipwayError, the form shows the messages, at their fields or above all,
    and the result is None."""
    try:
        return action()
    except SlipwayError as error:
        fields = error.params.get("fields", [])
        placed = [problem for problem in fields if problem["field"] in form.fields]
        for problem in placed:
            form.add_error(problem["field"], problem["message"])
        if not placed:
            form.add_error(None, f"{error.message} {error.hint}".strip())
        return None


class ExpiryField(forms.TypedChoiceField):
    """How long a key or token lives: a number of days, or for ever. Cleans to a moment or None."""

    def __init__(self) -> None:
        days = [
            ("30", _("30 days")),
            ("90", _("90 days")),
            ("365", _("One year")),
            ("", _("Never")),
        ]
        super().__init__(label=_("Expires after"), choices=days, coerce=_moment, empty_value=None, required=False)
        self.initial = "90"


def _moment(days: str) -> datetime:
    return timezone.now() + timedelta(days=int(days))
