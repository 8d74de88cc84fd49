"""ECharts options of the model page."""

from typing import Any

from django.utils.translation import gettext as _

from workers.contracts.report import Calibration


def confusion(labels: list[str], matrix: list[list[int]]) -> dict[str, Any]:
    """A confusion matrix: true labels downwards, predicted to the right, shaded by row share."""
    # The counts themselves, as long as they fit into their cells; white on the darkest.
    counted = len(labels) <= 12
    cells: list[dict[str, Any]] = []
    for true, row in enumerate(matrix):
        total = sum(row) or 1
        for predicted, count in enumerate(row):
            cell: dict[str, Any] = {"value": [predicted, true, round(count / total, 4), count]}
            if not count:
                cell["label"] = {"show": False}
            elif count > 0.65 * total:
                cell["label"] = {"color": "#fff"}
            cells.append(cell)
    label = {"show": counted, "formatter": "{@[3]}", "color": "--sw-ink"}
    return {
        "tooltip": {},
        "grid": {"top": 8, "right": 8, "left": 4, "bottom": 40},
        "xAxis": {"type": "category", "data": labels, "name": _("predicted"), "nameLocation": "middle", "nameGap": 30},
        "yAxis": {"type": "category", "data": labels, "inverse": True},
        "visualMap": {"show": False, "min": 0, "max": 1, "dimension": 2, "inRange": {"colorAlpha": [0.04, 1]}},
        "series": [
            {"type": "heatmap", "data": cells, "encode": {"tooltip": [3]}, "label": label, "color": "--sw-chart-1"}
        ],
    }


def reliability(calibration: Calibration) -> dict[str, Any]:
    """What scores promise against how often the answers are right; on the dashed line they keep their word."""
    points = [[_percent(part.confidence), _percent(part.accuracy)] for part in calibration.bins]
    start = max(0, 10 * int(10 * min(part.low for part in calibration.bins)))
    axis = {"type": "value", "min": start, "max": 100, "axisLabel": {"formatter": "{value} %"}}
    middle = {"nameLocation": "middle"}
    return {
        "tooltip": {"trigger": "item"},
        "legend": {},
        "grid": {"top": 36, "right": 16, "left": 24, "bottom": 28},
        "xAxis": {**axis, **middle, "name": _("score of the answer"), "nameGap": 28},
        "yAxis": {**axis, "min": 0},
        "series": [
            {"type": "line", "name": _("right answers"), "data": points, "symbolSize": 8},
            {
                "type": "line",
                "name": _("as promised"),
                "data": [[start, start], [100, 100]],
                "symbol": "none",
                "color": "--sw-ink-3",
                "lineStyle": {"type": "dashed", "width": 1.5},
            },
        ],
    }


def sureness(calibration: Calibration) -> dict[str, Any]:
    """How many answers have which score."""
    names = [f"{_percent(part.low):.0f}–{_percent(part.high):.0f} %" for part in calibration.bins]
    rows = [part.rows for part in calibration.bins]
    return {
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "category", "data": names},
        "yAxis": {"type": "value", "minInterval": 1},
        "series": [{"type": "bar", "name": _("answers"), "data": rows, "barMaxWidth": 28}],
    }


def _percent(share: float) -> float:
    return round(100 * share, 1)
