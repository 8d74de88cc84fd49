"""What the pages say about each kind of data. What a kind is stands in workers/contracts/kinds.py."""

from typing import Final, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.datasets.models import Kind

Text = str | Promise


class KindWords(NamedTuple):
    """`about`: what the import form offers; `rows`: what its rows are called; `takes`: what a model of it does;
    `upload`: the button where there is no data yet; `icon`: Tabler's."""

    about: Text
    rows: Text
    takes: Text
    upload: Text
    icon: str


WORDS: Final[dict[str, KindWords]] = {
    Kind.TEXT: KindWords(
        _("Sort texts into classes: tickets, reviews, messages."),
        _("Examples"),
        _("Takes texts, answers with a label."),
        _("Upload texts first"),
        "message",
    ),
    Kind.IMAGE: KindWords(
        _("Sort pictures into classes: a zip with one folder per class."),
        _("Images"),
        _("Takes photos, answers with a label."),
        _("Upload photos first"),
        "photo",
    ),
    Kind.RECOMMENDATION: KindWords(
        _("Recommend items: who bought, watched or liked what."),
        _("Interactions"),
        _("Takes a user or items, answers with a ranked list."),
        _("Upload interactions first"),
        "heart",
    ),
    Kind.TABULAR: KindWords(
        _("Sort rows into classes by their numbers, categories and dates."),
        _("Rows"),
        _("Takes a row of a table, answers with a label."),
        _("Upload a table first"),
        "table",
    ),
}
