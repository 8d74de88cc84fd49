"""What a usage page shows: a span of days, a step, an endpoint."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.teams.models import Team

SPANS = {"1": _("Last 24 hours"), "7": _("Last 7 days"), "30": _("Last 30 days"), "90": _("Last 90 days")}


class SpanForm(forms.Form):
    """GET form; whatever is missing or wrong falls back to the last seven days by the hour."""

    days = forms.ChoiceField(label=_("Time"), choices=list(SPANS.items()), required=False)
    endpoint = forms.ChoiceField(label=_("Endpoint"), required=False)

    def __init__(self, data: Any, *, endpoints: list[tuple[str, str]]) -> None:
        super().__init__({"days": "7", **data.dict()})
        self.fields["endpoint"].choices = [("", _("All endpoints")), *endpoints]  # type: ignore[attr-defined]
        self.is_valid()

    @property
    def span(self) -> tuple[datetime, datetime]:
        """From and to; the end lies ahead so that what happens now is in."""
        days = int(self.cleaned_data.get("days") or 7)
        end = timezone.now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        return end - timedelta(days=days), end

    @property
    def step(self) -> str:
        """The step that keeps a chart readable: hours up to a week, then days."""
        return "hour" if int(self.cleaned_data.get("days") or 7) <= 7 else "day"

    @property
    def endpoint_id(self) -> str:
        return self.cleaned_data.get("endpoint") or ""


class PeriodForm(forms.Form):
    """GET form of the reconciliation; whatever is missing or wrong falls back to the last day."""

    days = forms.ChoiceField(
        label=_("Time"),
        choices=[("1", _("Last 24 hours")), ("7", _("Last 7 days")), ("30", _("Last 30 days"))],
        required=False,
    )

    def __init__(self, data: Any) -> None:
        super().__init__({"days": "1", **data.dict()})
        self.is_valid()

    @property
    def span(self) -> tuple[datetime, datetime]:
        """From and to."""
        end = timezone.now()
        return end - timedelta(days=int(self.cleaned_data.get("days") or 1)), end


class LimitForm(forms.ModelForm):
    """How many requests a team may make in a month."""

    class Meta:
        model = Team
        fields = ("monthly_requests",)
        labels: ClassVar = {"monthly_requests": _("Requests per month")}
        help_texts: ClassVar = {
            "monthly_requests": _(
                "Over all endpoints, by the calendar month in UTC. Empty: no limit. Owners and admins are told by mail "
                "at 80 % and at 100 %; then calls are refused until the month ends."
            )
        }
