"""What can be done with endpoints and API keys."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from apps.core import audit
from apps.core.artifacts import storage
from apps.core.ids import new_id
from apps.core.throttle import throttled
from apps.endpoints import publish, rollouts
from apps.endpoints.models import Endpoint, Revision, Rollout
from apps.endpoints.rollouts import Rule
from apps.endpoints.traffic import locked_revisions, scaled, set_shares, shares_of
from apps.projects.models import Project
from apps.registry.models import ModelVersion
from apps.teams.access import require
from apps.teams.models import ApiKey, Team, User
from workers.contracts import keys
from workers.contracts.errors import JobError, UserError

_SLUG_TAIL = 6


def create_endpoint(*, actor: User, project: Project, name: str, model: ModelVersion, variant: str = "") -> Endpoint:
    """A new address with `model`, or a variant of it, at all of its traffic.

    Raises UserError `not_allowed`, `not_found` (a model of another project), `certificate_missing`, `bundle_invalid` or
    `invalid`.
    """
    require(actor, project.team_id, "write")
    _check_deployable(project, model, variant)
    name = _clean_name(name)
    with transaction.atomic():
        endpoint = Endpoint.objects.create(
            project=project,
            name=name,
            slug=_slug(name),
            kind=model.kind,
            template=model.template,
            created_by=actor,
        )
        Revision.objects.create(
            endpoint=endpoint, number=1, model=model, variant=variant, traffic=100, created_by=actor
        )
        _record(actor, endpoint, "endpoint.created", model=model.pk, slug=endpoint.slug)
        publish.publish_on_commit()
        return endpoint


def deploy_model(
    *,
    actor: User,
    endpoint: Endpoint,
    model: ModelVersion,
    variant: str = "",
    traffic: int = 100,
    shadow: int = 0,
    rule: Rule | None = None,
) -> Revision:
    """Give `model`, or a variant of it, a share of the endpoint's traffic, in percent.

    The others keep the rest in their proportions.

    With less than all of it, or with a rule, or with copies of a share of the requests (`shadow`, in percent), the
    model is on trial: a rollout runs until it is promoted or taken back. Raises UserError `not_allowed`, `not_found`,
    `certificate_missing`, `bundle_invalid`, `model_mismatch` or `invalid`.
    """
    require(actor, endpoint.project.team_id, "write")
    for field, percent in (("traffic", traffic), ("shadow", shadow)):
        if not 0 <= percent <= 100:
            raise UserError("invalid", fields=[{"field": field, "message": _("A whole number from 0 to 100.")}])
    _check_deployable(endpoint.project, model, variant)
    if reason := endpoint.misfit(model):
        raise UserError("model_mismatch", _("The model does not fit the endpoint: %(reason)s") % {"reason": reason})
    with transaction.atomic():
        revisions = locked_revisions(endpoint)
        revision = next((row for row in revisions if (row.model_id, row.variant) == (model.pk, variant)), None)
        if revision is None:
            number = max((row.number for row in revisions), default=0) + 1
            revision = Revision.objects.create(
                endpoint=endpoint,
                number=number,
                model=model,
                variant=variant,
                traffic=0,
                previous_traffic=0,
                created_by=actor,
            )
            revisions.append(revision)
        others = [row for row in revisions if row.pk != revision.pk]
        known = rollouts.running(endpoint)
        # Of a trial that goes on, the others share as they did before it: at all of the traffic it leaves them none.
        before = known.before if known and known.candidate_id == revision.pk else shares_of(revisions)
        weights = [before.get(row.pk, 0) for row in others]
        if not any(weights):
            if rule or shadow:
                message = _("No other model answers here: there is nothing to compare with or to go back to.")
                raise UserError("invalid", fields=[{"field": "rule" if rule else "shadow", "message": message}])
            traffic = 100  # nobody is there to take the rest
        on_trial = traffic < 100 or bool(rule or shadow)
        _begin_rollout(actor, revision, known, before, {"shadow": shadow, **asdict(rule or Rule())}, on_trial=on_trial)
        shares = {row.pk: share for row, share in zip(others, scaled(weights, 100 - traffic), strict=True)}
        set_shares(endpoint, revisions, {**shares, revision.pk: traffic})
        _record(actor, endpoint, "endpoint.deployed", model=model.pk, variant=variant, traffic=traffic, shadow=shadow)
        publish.publish_on_commit()
        return revision


def _begin_rollout(
    actor: User,
    candidate: Revision,
    known: Rollout | None,
    before: dict[str, int],
    how: dict[str, Any],
    *,
    on_trial: bool,
) -> None:
    """Begin a trial and end the one that runs. The same candidate, deployed again, is judged afresh."""
    if known:
        is_kept = known.candidate_id == candidate.pk and not on_trial
        _end_rollout(known, Rollout.State.PROMOTED if is_kept else Rollout.State.SUPERSEDED, actor)
    if on_trial:
        Rollout.objects.create(endpoint=candidate.endpoint, candidate=candidate, before=before, created_by=actor, **how)


def _end_rollout(
    rollout: Rollout, state: Rollout.State, actor: User | None, broken: dict[str, Any] | None = None
) -> bool:
    """Whether it was still running."""
    open_ones = Rollout.objects.filter(pk=rollout.pk, state=Rollout.State.RUNNING)
    return open_ones.update(state=state, ended=timezone.now(), ended_by=actor, broken=broken) == 1


@transaction.atomic
def promote_candidate(*, actor: User, endpoint: Endpoint) -> Endpoint:
    """Give all traffic to the candidate and end its trial; a rollback brings back what was before the trial.

    Raises UserError `not_allowed` or `nothing_to_promote`.
    """
    require(actor, endpoint.project.team_id, "write")
    revisions = locked_revisions(endpoint)
    rollout = rollouts.running(endpoint)
    if rollout is None or not _end_rollout(rollout, Rollout.State.PROMOTED, actor):
        raise UserError("nothing_to_promote")
    set_shares(endpoint, revisions, {rollout.candidate_id: 100}, previous=rollout.before)
    _record(actor, endpoint, "endpoint.promoted", model=rollout.candidate.model_id)
    publish.publish_on_commit()
    return endpoint


@transaction.atomic
def roll_back(*, actor: User, endpoint: Endpoint) -> Endpoint:
    """Take back the candidate on trial; without one, bring back the shares before the last change (once more brings
    back the change).

    Raises UserError `not_allowed` or `nothing_to_roll_back`.
    """
    require(actor, endpoint.project.team_id, "write")
    revisions = locked_revisions(endpoint)
    rollout = rollouts.running(endpoint)
    if rollout:
        _end_rollout(rollout, Rollout.State.ROLLED_BACK, actor)
        set_shares(endpoint, revisions, rollout.before)
    elif sum(row.previous_traffic for row in revisions) == 100:
        set_shares(endpoint, revisions, {row.pk: row.previous_traffic for row in revisions})
    else:
        raise UserError("nothing_to_roll_back")
    shares = {str(row.number): row.traffic for row in revisions}
    _record(actor, endpoint, "endpoint.rolled_back", shares=shares)
    publish.publish_on_commit()
    return endpoint


@transaction.atomic
def take_back_candidate(*, rollout: Rollout, broken: dict[str, Any]) -> bool:
    """Slipway itself: the candidate has broken its rule, what was before answers again. False where it has ended."""
    endpoint = rollout.endpoint
    revisions = locked_revisions(endpoint)
    if not _end_rollout(rollout, Rollout.State.ROLLED_BACK, None, broken):
        return False
    set_shares(endpoint, revisions, rollout.before)
    _record(None, endpoint, "endpoint.taken_back", model=rollout.candidate.model_id, **broken)
    publish.publish_on_commit()
    return True


def _record(actor: User | None, endpoint: Endpoint, event: str, **data: Any) -> None:
    project = endpoint.project
    audit.record(actor=actor, team=project.team, project=project, event=event, noun=endpoint, **data)


@transaction.atomic
def delete_endpoint(*, actor: User, endpoint: Endpoint) -> Endpoint:
    """Take an endpoint off the air for good. Its usage stays. Raises UserError `not_allowed` or `conflict`."""
    require(actor, endpoint.project.team_id, "admin")
    now = timezone.now()
    if Endpoint.objects.filter(pk=endpoint.pk, deleted=None).update(deleted=now) != 1:
        raise UserError("conflict")
    endpoint.deleted = now
    _record(actor, endpoint, "endpoint.deleted")
    publish.publish_on_commit()
    return endpoint


@throttled("key")
@transaction.atomic
def create_api_key(
    *,
    actor: User,
    team: Team,
    name: str,
    endpoints: Sequence[Endpoint] | None = None,
    expires: datetime | None = None,
    rate_limit: float | None = None,
    origins: Sequence[str] = (),
) -> tuple[ApiKey, str]:
    """A key for the hosted prediction API, and its text, which is nowhere kept.

    `endpoints` None opens all endpoints of the team; `origins` are those whose pages may use it in a browser. Raises
    UserError `not_allowed`, `not_found` (an endpoint of another team) or `invalid`.
    """
    require(actor, team.pk, "admin")
    return _create_key(actor, team, name, endpoints, expires, rate_limit, _clean_origins(origins))


@transaction.atomic
def create_playground_key(*, actor: User, endpoint: Endpoint, expires: datetime) -> tuple[ApiKey, str]:
    """A short-lived key for one member to try one endpoint in the browser. Raises UserError `not_allowed`."""
    require(actor, endpoint.project.team_id, "write")
    name = _("Playground of %(user)s") % {"user": actor.display_name}
    return _create_key(actor, endpoint.project.team, name, [endpoint], expires, None)


def _create_key(
    actor: User,
    team: Team,
    name: str,
    endpoints: Sequence[Endpoint] | None,
    expires: datetime | None,
    rate_limit: float | None,
    origins: Sequence[str] = (),
) -> tuple[ApiKey, str]:
    if endpoints is not None and any(e.project.team_id != team.pk or e.deleted for e in endpoints):
        raise UserError("not_found")
    if expires is not None and expires <= timezone.now():
        raise UserError("invalid", fields=[{"field": "expires", "message": _("This time has passed.")}])
    if rate_limit is not None and not 0 < rate_limit <= 1_000_000:
        raise UserError("invalid", fields=[{"field": "rate_limit", "message": _("A number above 0.")}])
    made = keys.new_key(keys.API_KEY)
    key = ApiKey.objects.create(
        team=team,
        name=_clean_name(name),
        prefix=made.prefix,
        digest=made.digest,
        all_endpoints=endpoints is None,
        rate_limit=rate_limit,
        origins=list(origins),
        expires=expires,
        created_by=actor,
    )
    key.endpoints.set(endpoints or [])
    scope = None if endpoints is None else [endpoint.pk for endpoint in endpoints]
    audit.record(actor=actor, team=team, event="key.created", noun=key, key_name=key.name, endpoints=scope)
    publish.publish_on_commit()
    return key, made.text


def _clean_origins(origins: Sequence[str]) -> list[str]:
    """Each once, as browsers write it. Raises UserError `invalid`."""
    cleaned = {text: keys.clean_origin(text) for text in origins}
    if (bad := next((text for text, origin in cleaned.items() if origin is None), None)) is not None:
        message = _("“%(text)s” is no web origin. Write https://shop.example, without a path.") % {"text": bad[:80]}
        raise UserError("invalid", fields=[{"field": "origins", "message": message}])
    found = list(dict.fromkeys(origin for origin in cleaned.values() if origin))
    if len(found) > keys.MAX_ORIGINS:
        message = _("At most %(most)s origins.") % {"most": keys.MAX_ORIGINS}
        raise UserError("invalid", fields=[{"field": "origins", "message": message}])
    return found


@transaction.atomic
def revoke_api_key(*, actor: User, key: ApiKey) -> ApiKey:
    """End a key; it opens nothing within a second. Twice is once.

    Raises UserError `not_allowed`; InfraError where the key is ended but serving processes could not be told yet.
    """
    require(actor, key.team_id, "admin")
    now = timezone.now()
    if ApiKey.objects.filter(pk=key.pk, revoked=None).update(revoked=now) == 1:
        key.revoked = now
        audit.record(actor=actor, team=key.team, event="key.revoked", noun=key, key_name=key.name)
    transaction.on_commit(publish.publish_or_fail)
    return key


def _check_deployable(project: Project, model: ModelVersion, variant: str) -> None:
    if model.project_id != project.pk:
        raise UserError("not_found")
    if not model.is_deployable:
        raise UserError("certificate_missing")
    model.require_variant(variant)
    _check_bundle(model)


def _check_bundle(model: ModelVersion) -> None:
    """The stored bundle is still the one that was certified. Raises UserError `bundle_invalid`, InfraError."""
    try:
        with storage().open(model.bundle_key) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    except JobError:
        raise UserError("bundle_invalid", _("The model's bundle is gone from storage.")) from None
    if digest != model.bundle_sha256:
        raise UserError("bundle_invalid")


def _clean_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > 120:
        raise UserError("invalid", fields=[{"field": "name", "message": _("From 1 to 120 characters.")}])
    return name


def _slug(name: str) -> str:
    """A readable, unguessed-at name for the address: the name's letters and six random ones."""
    readable = slugify(name)[:60].strip("-") or "endpoint"
    return f"{readable}-{new_id('end')[-_SLUG_TAIL:]}"
