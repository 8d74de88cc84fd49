"""Template tags of the dashboard. They only format; what is shown is decided in views."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma, naturaltime
from django.core.serializers.json import DjangoJSONEncoder
from django.forms import BoundField
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.core import activity
from apps.core.icons import drawing
from apps.core.models import AuditEntry
from workers.task_templates import TEMPLATES

register = template.Library()

# state → colour (a class `state-…` in components.css) and icon. Words come from the model's choices.
_STATES = {
    "queued": ("idle", "clock"),
    "running": ("live", "progress"),
    "processing": ("live", "progress"),
    "succeeded": ("good", "circle-check"),
    "ready": ("good", "circle-check"),
    "complete": ("good", "circle-check"),
    "pruned": ("idle", "scissors"),
    "stopped": ("idle", "clock"),
    "failed": ("bad", "circle-x"),
    "cancelled": ("idle", "ban"),
    "revoked": ("idle", "ban"),
    "expired": ("idle", "clock"),
    "warning": ("warn", "alert-triangle"),
}


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """An icon by Tabler's name for it; decoration only, so hidden from screen readers."""
    return format_html(
        '<svg class="icon {}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75"'
        ' stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{}</svg>',
        css,
        drawing(name),
    )


@register.simple_tag
def ago(moment: datetime | None, empty: str = "–") -> SafeString | str:
    """A time relative to now, the exact one in the title."""
    if moment is None:
        return empty
    exact = date_format(timezone.localtime(moment), "j M Y, H:i:s e")
    text = _("just now") if abs(timezone.now() - moment) < timedelta(seconds=5) else naturaltime(moment)
    # "2 hours, 5 minutes ago" is more than the eye wants.
    head, comma, rest = str(text).partition(",")
    for ending in (" ago", " from now"):
        if comma and rest.endswith(ending):
            text = head + ending
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, text)


@register.inclusion_tag("components/state.html")
def state(value: str, label: str = "") -> dict[str, str]:
    """A badge for the state of a job, a dataset version, a key …"""
    tone, symbol = _STATES.get(value, ("idle", "circle"))
    return {"tone": tone, "symbol": symbol, "label": label or value}


@register.inclusion_tag("components/field.html")
def field(
    bound: BoundField, optional: bool = True, autofocus: bool = False, placeholder: bool = True
) -> dict[str, Any]:
    """A form field with label, control, help and errors, tied together for screen readers."""
    widget = bound.field.widget
    kind = getattr(widget, "input_type", widget.__class__.__name__.lower())
    if kind == "checkbox" and getattr(widget, "allow_multiple_selected", False):
        kind = "checkboxselectmultiple"
        widget.attrs["class"] = "form-check-input"
    classes = {
        "select": "form-select",
        "selectmultiple": "form-select",
        "checkbox": "form-check-input",
        "radio": "form-check-input",
        "checkboxselectmultiple": "form-check-input",
    }
    css = classes.get(kind, "form-control")
    if bound.errors:
        css += " is-invalid"
    own = bound.field.widget.attrs.get("class")
    attrs: dict[str, Any] = {"class": f"{own} {css}" if own else css}
    if not placeholder:
        attrs["placeholder"] = False
    if autofocus:
        attrs["autofocus"] = True
    return {
        "field": bound,
        "kind": kind,
        "control": bound.as_widget(attrs=attrs),
        "optional": optional and not bound.field.required and kind != "checkbox",
        "multiple": kind in ("radio", "checkboxselectmultiple"),
    }


@register.inclusion_tag("components/copyable.html")
def copyable(text: str, label: str = "") -> dict[str, str]:
    """A small identifier with a button that copies it."""
    return {"text": text, "label": label or _("Copy")}


@register.simple_tag
def chart(option: dict[str, Any], label: str, css: str = "") -> SafeString:
    """An ECharts chart (static/js/charts.js draws it); `label` is what a screen reader hears."""
    # In an attribute, not in a script element: htmx drops scripts from what it swaps in.
    return format_html(
        '<div class="chart {}" data-option="{}" role="img" aria-label="{}"></div>',
        css,
        json.dumps(option, cls=DjangoJSONEncoder),
        label,
    )


@register.simple_tag
def strip(
    value: float | None, low: float | None = None, high: float | None = None, beside: Any = (), scale: float = 1.0
) -> SafeString:
    """A value on a line from 0 to `scale`, with its interval and with the values beside it as ticks. A picture of
    figures that stand next to it, so hidden from screen readers."""

    def place(number: float) -> str:
        return f"{100 * min(max(number / scale, 0.0), 1.0):.2f}%"

    parts = [SafeString('<rect class="strip-track" y="7" width="100%" height="4" rx="2"/>')]
    for other in beside or ():
        if other is not None:
            parts.append(format_html('<rect class="strip-beside" x="{}" y="2" width="2" height="14"/>', place(other)))
    if low is not None and high is not None:
        parts.append(
            format_html('<rect class="strip-range" x="{}" y="5" width="{}" height="8"/>', place(low), place(high - low))
        )
    if value is not None:
        parts.append(format_html('<circle class="strip-value" cx="{}" cy="9" r="5"/>', place(value)))
    return format_html('<svg class="strip" height="18" aria-hidden="true">{}</svg>', SafeString("".join(parts)))


@register.filter
def number(value: Any) -> str:
    """A count with separators; a float with at most three decimals."""
    if value is None or value == "":
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return str(intcomma(int(value), use_l10n=True))


@register.filter
def short_number(value: int | float | None) -> str:
    """1,234,567 → 1.2 M: for figures that are read at a glance."""
    if value is None:
        return "–"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            return f"{scaled:.1f}".rstrip("0").rstrip(".") + f" {unit}"
    return number(value)


@register.filter
def percent(value: float | None, digits: int = 0) -> str:
    """A share of 1 as a percentage: 0.9312 → 93 %. A little is not nothing, nearly all is not all: < 1 %, > 99 %."""
    if value is None:
        return "–"
    shown, least = f"{100 * value:.{digits}f}", 10**-digits
    if 0 < value < 1 and float(shown) in (0, 100):
        return f"< {least:.{digits}f} %" if value < 0.5 else f"> {100 - least:.{digits}f} %"
    return f"{shown} %"


@register.filter
def share(part: float, whole: float) -> float:
    """part / whole in [0, 1], 0 where there is no whole."""
    return part / whole if whole else 0.0


@register.filter
def duration(seconds: float | timedelta | None) -> str:
    """Seconds as people say them: 42 s, 3 min 5 s, 2 h 10 min, 3 days."""
    if seconds is None:
        return "–"
    total = int(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
    if total < 60:
        return _("%(s)d s") % {"s": total}
    if total < 3600:
        return _("%(m)d min %(s)d s") % {"m": total // 60, "s": total % 60}
    if total < 2 * 86400:
        return _("%(h)d h %(m)d min") % {"h": total // 3600, "m": total % 3600 // 60}
    return ngettext("%(d)d day", "%(d)d days", total // 86400) % {"d": total // 86400}


@register.filter
def took(end: datetime | None, start: datetime | None) -> str:
    """The time from start to end."""
    return duration(end - start if end and start else None)


@register.filter
def moment(seconds: int | None) -> str:
    """Seconds since the epoch as a UTC date and time; at midnight the date, as in data that has dates only."""
    if seconds is None:
        return "–"
    return date_format(datetime.fromtimestamp(seconds, UTC), "j M Y, H:i" if seconds % 86400 else "j M Y")


@register.filter
def task(key: str) -> str:
    """What a task template is called; its key where it is none of ours any more."""
    found = TEMPLATES.get(key)
    return str(found.title) if found else key


@register.filter
def basename(path: str) -> str:
    """The last part of a path."""
    return path.rsplit("/", 1)[-1]


@register.filter
def initials(name: str) -> str:
    """One or two capitals that stand for a name."""
    words = [word for word in name.replace("@", " ").replace(".", " ").split() if word[:1].isalnum()]
    return "".join(word[0] for word in words[:2]).upper() or "?"


@register.filter
def hue(key: str) -> int:
    """A number from 1 to 6 that stays with a key: the colour of its avatar (`hue-…` in components.css)."""
    return sum(map(ord, str(key))) % 6 + 1


@register.filter
def get(mapping: dict[str, Any] | None, key: str) -> Any:
    """mapping[key], None where it is missing."""
    return (mapping or {}).get(key)


@register.filter
def get_at(values: Any, place: int) -> Any:
    """values[place]."""
    return values[place]


@register.filter
def deed(entry: AuditEntry) -> str:
    """What an audit entry says, to follow a person's name."""
    return activity.words(entry)


@register.filter
def deed_icon(entry: AuditEntry) -> str:
    """The icon of an audit entry."""
    return activity.symbol(entry)
