"""A dataset version's numbers, arranged for reading. Nothing is computed here that the import has not counted."""

from itertools import pairwise
from typing import Any, Final

from django.db.models import F
from django.template.defaultfilters import filesizeformat
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext

from apps.core.templatetags.slipway import number, percent
from apps.datasets import browse, edits
from apps.datasets.kinds import WORDS
from apps.datasets.models import Dataset, DatasetVersion, Kind
from workers.ingest.repairs import by_name

SHOWN_CLASSES = 12
SHOWN_LANGUAGES = 6

Fact = tuple[str, str]
# What the kinds of change between two versions are called.
CHANGES: Final = {
    "added": _lazy("Added"),
    "removed": _lazy("Removed"),
    "relabelled": _lazy("Other label"),
    "changed": _lazy("Other text"),
    "moved": _lazy("Other split"),
}


def figures(version: DatasetVersion) -> list[dict[str, str]]:
    """The large figures at the top: label, value, and a word under it."""
    in_file = version.profile.get("rows_in_file") or version.rows + version.rejected
    found = [
        {"label": str(WORDS[version.dataset.kind].rows), "value": number(version.rows)},
        {
            "label": _("Rejected"),
            "value": number(version.rejected),
            "under": _("of %(rows)s in the file") % {"rows": number(in_file)} if version.rejected else "",
        },
    ]
    if version.dataset.kind == Kind.RECOMMENDATION:
        found += [
            {"label": _("Users"), "value": number(version.profile.get("users"))},
            {"label": _("Items"), "value": number(version.profile.get("items"))},
        ]
    else:
        found.append({"label": _("Classes"), "value": number(len(version.classes))})
    return [*found, {"label": _("Size"), "value": filesizeformat(version.data_bytes)}]


def readiness(version: DatasetVersion) -> dict[str, str]:
    """The first sentence about a version: how much of it is there, and what is not."""
    images = version.dataset.kind == Kind.IMAGE
    title = (
        ngettext("%(n)s image is ready.", "%(n)s images are ready.", version.rows)
        if images
        else ngettext("%(n)s row is ready.", "%(n)s rows are ready.", version.rows)
    )
    merged = version.profile.get("merged") or 0
    said = []
    if version.rejected:
        left_out = ngettext(
            "%(n)s was left out; the reason is below.", "%(n)s were left out; the reasons are below.", version.rejected
        )
        said.append(left_out % {"n": number(version.rejected)})
    if merged:
        repeated = ngettext(
            "%(n)s row that repeats a pair was counted with it.",
            "%(n)s rows that repeat a pair were counted with it.",
            merged,
        )
        said.append(repeated % {"n": number(merged)})
    return {"title": title % {"n": number(version.rows)}, "rest": " ".join(said) or _("Nothing was left out.")}


def classes(version: DatasetVersion) -> dict[str, Any]:
    """The classes by size: the first ones, and the rest behind a fold. `most` scales the bars."""
    rows = sorted(version.classes.items(), key=lambda item: (-item[1], item[0]))
    return {
        "first": rows[:SHOWN_CLASSES],
        "rest": rows[SHOWN_CLASSES:],
        "most": rows[0][1] if rows else 0,
        # Of rows with several labels the shares are those of the rows.
        "all": version.rows if version.is_multi_label else sum(version.classes.values()),
    }


def own_columns(version: DatasetVersion) -> list[dict[str, Any]]:
    """The columns of a tabular version as its file has them: name, type, gaps, different cells, range or examples."""
    return [{**column, "shown": _shown(column)} for column in version.profile.get("columns", [])]


def _shown(column: dict[str, Any]) -> str:
    if column["type"] == "number":
        return f"{column['min']:g} – {column['max']:g}"
    if column["type"] == "date":
        return f"{_day(column['from'])} – {_day(column['to'])}"
    return ", ".join(column.get("examples", []))


def splits(version: DatasetVersion) -> list[dict[str, Any]]:
    """Rows per split, in the order of use."""
    names = {"train": _("Train"), "validation": _("Validation"), "test": _("Test")}
    total = sum(version.splits.values())
    return [
        {
            "name": title,
            "rows": version.splits.get(key, 0),
            "share": version.splits.get(key, 0) / total if total else 0.0,
        }
        for key, title in names.items()
    ]


def format_name(format: str) -> str:
    """What a file's format is called."""
    names = {"sheet": _("Spreadsheet"), "jsonl": "JSON Lines", "parquet": "Parquet", "compressed": _("compressed")}
    return names.get(format, format.upper())


def facts(version: DatasetVersion) -> list[Fact]:
    """Small facts about the file and what is in it."""
    profile = version.profile
    found: list[Fact] = [(_("File"), version.source_name), (_("Format"), _format(profile))]
    if profile.get("sheet"):
        found.append((_("Sheet"), str(profile["sheet"])))
    if profile.get("files"):
        found.append((_("Files"), ", ".join(str(file["name"]) for file in profile["files"])))
    if profile.get("encoding"):
        found.append((_("Encoding"), str(profile["encoding"])))
    if spoken := profile.get("languages"):
        shares = [f"{one['name']} {percent(one['share'])}" for one in spoken["found"]]
        found.append((_("Languages, by a sample"), ", ".join(shares[:SHOWN_LANGUAGES])))
    if per_row := profile.get("labels_per_row"):
        words = {"mean": f"{per_row['mean']:.2f}", "most": number(per_row["max"]), "none": number(per_row["none"])}
        found.append((_("Labels per row"), _("%(mean)s on average, at most %(most)s; %(none)s rows have none") % words))
    if profile.get("merged"):
        found.append((_("Repeated pairs, counted once"), number(profile["merged"])))
    if profile.get("density") is not None:
        found.append((_("Share of all possible pairs"), percent(profile["density"], 3)))
    if profile.get("dates"):
        found.append((_("From"), _day(profile["dates"]["from"])))
        found.append((_("To"), _day(profile["dates"]["to"])))
    if profile.get("formats"):
        found.append((_("Image formats"), ", ".join(f"{name} {number(n)}" for name, n in profile["formats"].items())))
    return [fact for fact in found if fact[1]]


def issue_cards(version: DatasetVersion) -> dict[str, list[dict[str, Any]]]:
    """What the data doctor found, with what can be done: `look` is worth a look, `know` is told for completeness."""
    repairs = edits.repairs_for(version)
    rows = browse.issue_counts(version)
    cards = [
        {**issue, "repairs": repairs.get(issue["code"], []), "has_rows": issue["code"] in rows}
        for issue in edits.issues(version)
    ]
    know = [card for card in cards if card["severity"] == "info"]
    return {"look": [card for card in cards if card["severity"] != "info"], "know": know}


def lineage(dataset: Dataset) -> list[dict[str, Any]]:
    """How each version came about, the newest first: what was done, and how many rows it changed."""
    light = dataset.versions.select_related("parent").defer(*DatasetVersion.heavy(), *DatasetVersion.heavy("parent__"))
    versions = light.annotate(edit=F("profile__edit"))
    return [{"version": one, "what": _done(one), "changed": _changed(one.origin, one.edit or {})} for one in versions]


def _done(version: DatasetVersion) -> str:
    if version.repair and version.origin == DatasetVersion.Origin.REPAIR:
        return by_name(version.repair).title
    named = (DatasetVersion.Origin.IMPORT, DatasetVersion.Origin.APPEND)
    return version.source_name if version.origin in named else ""


def _changed(origin: str, edit: dict[str, int]) -> str:
    if origin == DatasetVersion.Origin.RESTORED:
        return ""
    words = {
        "dropped": ngettext("%(n)s row removed", "%(n)s rows removed", edit.get("dropped", 0)),
        "relabelled": ngettext("%(n)s label changed", "%(n)s labels changed", edit.get("relabelled", 0)),
        "changed": ngettext("%(n)s text changed", "%(n)s texts changed", edit.get("changed", 0)),
        "moved": ngettext("%(n)s row moved", "%(n)s rows moved", edit.get("moved", 0)),
    }
    return ", ".join(text % {"n": number(edit[name])} for name, text in words.items() if edit.get(name))


def _format(profile: dict[str, Any]) -> str:
    return "" if profile.get("format") == "edit" else format_name(str(profile.get("format", "")))


def _day(text: str) -> str:
    moment = parse_datetime(text)
    return date_format(moment, "j M Y") if moment else text


def charts(version: DatasetVersion) -> list[dict[str, Any]]:
    """Histograms as ECharts options: title, what a screen reader hears, option."""
    profile = version.profile
    found: list[dict[str, Any] | None] = []
    if version.dataset.kind == Kind.TEXT:
        found.append(_histogram(_("Length of the texts, in characters"), profile.get("text_length")))
        found.append(_histogram(_("Length of the second texts, in characters"), profile.get("text_pair_length")))
    elif version.dataset.kind == Kind.IMAGE:
        found.append(_histogram(_("Width, in pixels"), profile.get("width")))
        found.append(_histogram(_("Height, in pixels"), profile.get("height")))
    elif version.dataset.kind == Kind.RECOMMENDATION:
        found.append(_doubling(_("Interactions per user"), profile.get("per_user")))
        found.append(_doubling(_("Interactions per item"), profile.get("per_item")))
    return [chart for chart in found if chart]


def _histogram(title: str, summary: dict[str, Any] | None) -> dict[str, Any] | None:
    if not summary or not summary.get("histogram") or len(summary["histogram"]["counts"]) < 2:
        return None
    edges, counts = summary["histogram"]["edges"], summary["histogram"]["counts"]
    names = [f"{number(int(low))}–{number(int(high))}" for low, high in pairwise(edges)]
    return _bars(title, names, counts, summary)


def _doubling(title: str, summary: dict[str, Any] | None) -> dict[str, Any] | None:
    if not summary or not (summary.get("doubling") or {}).get("counts"):
        return None
    starts, counts = summary["doubling"]["from"], summary["doubling"]["counts"]
    names = [number(low) if low == 1 else f"{number(low)}–{number(2 * low - 1)}" for low in starts]
    return _bars(title, names, counts, summary)


def _bars(title: str, names: list[str], counts: list[int], summary: dict[str, Any]) -> dict[str, Any]:
    middle, top = number(round(summary["median"])), number(round(summary["max"]))
    return {
        "title": title,
        "text": _("median %(median)s, largest %(max)s") % {"median": middle, "max": top},
        "option": {
            "xAxis": {"type": "category", "data": names},
            "yAxis": {"type": "value", "splitNumber": 3},
            "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}},
            "series": [
                {"type": "bar", "data": counts, "barCategoryGap": "12%", "itemStyle": {"borderRadius": [3, 3, 0, 0]}}
            ],
        },
    }
