"""Rollouts: how a candidate does beside the model that answers, and whether it has broken its rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Sum
from django.utils.translation import gettext as _

from apps.endpoints.models import Endpoint, Rollout, ShadowSum
from apps.usage.histogram import histogram, percentile_ms
from apps.usage.models import LedgerEntry
from workers.contracts.errors import UserError
from workers.contracts.shadow import FAILED, MAX_LAST, ShadowTally
from workers.contracts.usage import BATCH

MAX_REQUESTS: Final = 10_000
# Answers of these are the serving side's fault; refusals of bad inputs are the client's.
_ERROR: Final = 500
_SHOWN_CHANGES: Final = 5


@dataclass(frozen=True, slots=True)
class Rule:
    """When a candidate is taken back: judged over its last `requests` answers, not before there are as many; and over
    as many copies that it got (at most shadow.MAX_LAST of each serving process).

    `max_error_percent` counts answers of 500 and above, and copies that it failed on; `max_p99_ms` is the latency of
    answers, and the computing of copies. None is not judged.
    """

    requests: int = 100
    max_error_percent: float | None = None
    max_p99_ms: float | None = None

    @classmethod
    def checked(cls, requests: int, max_error_percent: float | None, max_p99_ms: float | None) -> "Rule | None":
        """A rule that can be kept; None where it says nothing. Raises UserError `invalid`."""
        if max_error_percent is None and max_p99_ms is None:
            return None
        bounds: list[tuple[str, float | None, float, float]] = [
            ("requests", requests, 1, MAX_REQUESTS),
            ("max_error_percent", max_error_percent, 0, 100),
            ("max_p99_ms", max_p99_ms, 0.001, 600_000),
        ]
        wrong = [
            {"field": f"rule.{name}", "message": _("From %(low)g to %(high)g.") % {"low": low, "high": high}}
            for name, value, low, high in bounds
            if value is not None and not low <= value <= high
        ]
        if wrong:
            raise UserError("invalid", fields=wrong)
        return cls(requests, max_error_percent, max_p99_ms)


@dataclass(frozen=True, slots=True)
class Findings:
    """The candidate's last answers, or copies, at most as many as the rule looks at."""

    requests: int
    failed: int
    p99_ms: float | None

    @property
    def error_percent(self) -> float:
        return 100 * self.failed / self.requests if self.requests else 0.0


def latest(endpoint: Endpoint) -> Rollout | None:
    """The rollout that runs, or the last one."""
    return endpoint.rollouts.select_related("endpoint", "candidate").order_by("-started").first()


def running(endpoint: Endpoint) -> Rollout | None:
    """The rollout that runs, if any."""
    return endpoint.rollouts.filter(state=Rollout.State.RUNNING).first()


def findings(rollout: Rollout) -> Findings:
    """What the ledger says of the candidate since the rollout began."""
    rows = LedgerEntry.objects.filter(revision_id=rollout.candidate_id, time__gte=rollout.started)
    rows = rows.exclude(key_id__startswith=BATCH)  # nobody waited for the blocks of a file
    last = list(rows.order_by("-time").values_list("status", "latency_us")[: rollout.requests])
    p99 = percentile_ms(histogram(latency for _status, latency in last), 0.99)
    return Findings(len(last), sum(status >= _ERROR for status, _latency in last), p99)


def copied(rollout: Rollout) -> Findings:
    """What serving processes say of the candidate's newest copies, in equal parts."""
    told = [last for last in ShadowSum.objects.filter(rollout=rollout).values_list("last", flat=True) if last]
    each = -(-rollout.requests // len(told)) if told else 0
    last = [us for one in told for us in one[-each:]]
    p99 = percentile_ms(histogram(us for us in last if us != FAILED), 0.99)
    return Findings(len(last), last.count(FAILED), p99)


def broken(rollout: Rollout) -> dict[str, Any] | None:
    """Which part of its rule the candidate has broken: {"what", "measured", "limit", "requests"}; None if none."""
    return _broken(rollout, findings(rollout), "", rollout.requests) or (
        _broken(rollout, copied(rollout), "copies_", min(rollout.requests, MAX_LAST)) if rollout.shadow else None
    )


def _broken(rollout: Rollout, found: Findings, prefix: str, least: int) -> dict[str, Any] | None:
    if found.requests < least:
        return None
    judged = [
        ("errors", found.error_percent, rollout.max_error_percent),
        ("p99", found.p99_ms or 0.0, rollout.max_p99_ms),
    ]
    for what, measured, limit in judged:
        if limit is not None and measured > limit:
            return {"what": prefix + what, "measured": round(measured, 3), "limit": limit, "requests": found.requests}
    return None


def why(rollout: Rollout) -> str:
    """The broken rule in words; empty where nobody but a person ended the rollout."""
    if not rollout.broken:
        return ""
    words = {
        "errors": _("%(measured)g %% of its last %(requests)d answers were errors; the rule allows %(limit)g %%."),
        "p99": _("The p99 of its last %(requests)d answers was %(measured)g ms; the rule allows %(limit)g ms."),
        "copies_errors": _(
            "It failed on %(measured)g %% of its last %(requests)d copies; the rule allows %(limit)g %%."
        ),
        "copies_p99": _(
            "Computing its last %(requests)d copies took up to %(measured)g ms (p99); the rule allows %(limit)g ms."
        ),
    }
    return words[rollout.broken["what"]] % rollout.broken


# --- Copies ---


@dataclass(frozen=True, slots=True)
class Compared:
    """What copies of requests have shown so far; None where there is nothing to divide by.

    `agreement` is the share of inputs, `score_difference` the mean one, times are milliseconds per input, and
    `changes` the most frequent (answered, candidate's answer, how often).
    """

    copies: int
    dropped: int
    failed: int
    items: int
    compute_ms: float
    agreement: float | None
    score_difference: float | None
    answered_ms: float | None
    candidate_ms: float | None
    changes: list[tuple[str, str, int]]


def compared(rollout: Rollout) -> Compared:
    """The sums over all serving processes."""
    rows = ShadowSum.objects.filter(rollout=rollout)
    sums = rows.aggregate(**{name: Sum(name, default=0) for name in _SUMS})
    changes: dict[tuple[str, str], int] = {}
    for listed in rows.values_list("changes", flat=True):
        for answered, given, count in listed:
            changes[answered, given] = changes.get((answered, given), 0) + count
    most = sorted(changes.items(), key=lambda pair: -pair[1])[:_SHOWN_CHANGES]

    def mean(name: str, over: str, scale: float = 1.0) -> float | None:
        return sums[name] / sums[over] * scale if sums[over] else None

    return Compared(
        copies=sums["copies"],
        dropped=sums["dropped"],
        failed=sums["failed"],
        items=sums["items"],
        compute_ms=sums["candidate_us"] / 1000,
        agreement=mean("agreed", "items"),
        score_difference=mean("score_difference", "scored"),
        answered_ms=mean("answered_us", "items", 1e-3),
        candidate_ms=mean("candidate_us", "items", 1e-3),
        changes=[(answered, given, count) for (answered, given), count in most],
    )


_SUMS: Final = tuple(
    name for name in ShadowTally.model_fields if name not in ("rollout", "process", "seq", "changes", "last")
)


def apply(entries: Sequence[tuple[str, Mapping[bytes, bytes]]]) -> None:
    """Keep the newest tally of each rollout and process (stream slipway:shadow). An older or a repeated one changes
    nothing; one of a rollout that is gone is dropped. Raises ValueError or KeyError for an entry that is no tally.
    """
    tallies = [ShadowTally.model_validate_json(fields[b"r"]) for _, fields in entries]
    newest = {(tally.rollout, tally.process): tally for tally in sorted(tallies, key=lambda tally: tally.seq)}
    known = set(Rollout.objects.filter(pk__in=[rollout for rollout, _ in newest]).values_list("pk", flat=True))
    for (rollout, process), tally in newest.items():
        if rollout in known:
            values = tally.model_dump(exclude={"rollout", "process"})
            row, made = ShadowSum.objects.get_or_create(rollout_id=rollout, process=process, defaults=values)
            if not made and row.seq < tally.seq:
                ShadowSum.objects.filter(pk=row.pk).update(**values)
