"""Conditions on rows, as a query gives them: `q`, `label`, `split`, `issue`, `mistakes`, `suspects`, `sort`."""

from collections.abc import Mapping
from typing import Final

from apps.datasets import browse
from apps.datasets.models import DatasetVersion
from workers.contracts.errors import UserError
from workers.contracts.job import SPLITS
from workers.ingest.rows import Where

NAMES: Final = frozenset({"q", "label", "split", "issue", "mistakes", "suspects", "sort"})
# A finding of a model's, not of the data doctor's.
_SUSPECT: Final = "label_suspect"
_MAX_QUERY_CHARS: Final = 1000


def read_where(version: DatasetVersion, query: Mapping[str, str]) -> Where:
    """The conditions of a query about a version; blank ones are none. Raises UserError `invalid` for unknown values."""
    given = {name: query.get(name, "") for name in NAMES}
    if given["issue"] == _SUSPECT:
        given |= {"issue": "", "suspects": "1"}
    if len(given["q"]) > _MAX_QUERY_CHARS:
        raise _invalid("q", f"at most {_MAX_QUERY_CHARS} characters")
    if given["label"] and given["label"] not in version.classes:
        raise _invalid("label", "not a class of this version")
    _one_of("split", given["split"], SPLITS)
    if given["issue"] and given["issue"] not in browse.issue_counts(version):
        raise _invalid("issue", "no row of this version has such a finding")
    for name in ("mistakes", "suspects"):
        _one_of(name, given[name], ("1",))
    _one_of("sort", given["sort"], ("suspicion",))
    asks_a_model = next((name for name in ("mistakes", "suspects", "sort") if given[name]), None)
    if asks_a_model and not version.suspects_key:
        raise _invalid(asks_a_model, "no model has looked at this version yet: train one")
    return Where(
        q=given["q"],
        label=given["label"],
        split=given["split"],
        issue=given["issue"],
        mistakes=bool(given["mistakes"]),
        suspects=bool(given["suspects"]),
        sort="suspicion" if given["sort"] else "",
    )


def _one_of(field: str, value: str, known: tuple[str, ...]) -> None:
    if value and value not in known:
        raise _invalid(field, "one of " + ", ".join(known))


def _invalid(field: str, message: str) -> UserError:
    return UserError("invalid", fields=[{"field": field, "message": message}])
