"""Publishing routes and keys to the hosted prediction API: one JSON value in Redis, a version, and a call to look."""

import time

import redis
import structlog
from django.db import transaction
from django.db.models import Prefetch, Q
from django.utils import timezone

from apps.core import redis_client
from apps.endpoints.models import Endpoint, Revision, Rollout
from apps.registry.models import ModelVersion
from apps.teams.models import ApiKey
from apps.usage import quota
from workers.contracts import names
from workers.contracts.errors import InfraError
from workers.contracts.snapshot import KeyEntry, Route, RouteRevision, Shadow, Snapshot, TeamQuota

log = structlog.get_logger(__name__)


def publish_on_commit() -> None:
    """Publish once the transaction is safe. Where that fails, what was done is done: beat publishes within seconds."""
    transaction.on_commit(_publish_soon, robust=True)


def _publish_soon() -> None:
    try:
        publish_snapshot()
    except redis.RedisError as error:
        log.warning("snapshot_not_published", reason=type(error).__name__)


def publish_or_fail() -> None:
    """After a commit that takes a right away: whoever asked must not believe that it is gone before it is.

    Raises InfraError `unavailable`; asking again is safe.
    """
    try:
        publish_snapshot()
    except redis.RedisError as error:
        log.warning("snapshot_not_published", reason=type(error).__name__)
        raise InfraError("unavailable", retry_after=5) from error


def publish_if_changed() -> bool:
    """Publish unless what is published already says the same; whether it was needed. Raises redis.RedisError."""
    client = redis_client.client()
    stored, counted = client.mget([names.SNAPSHOT, names.SNAPSHOT_VERSION])
    if stored and counted:
        published = Snapshot.model_validate_json(str(stored))
        now = build(published.version)
        same = now.model_copy(update={"published": published.published}) == published
        if same and str(counted) == str(published.version):
            return False
    publish_snapshot()
    return True


def publish_snapshot() -> Snapshot:
    """Publish what the database says now. Raises redis.RedisError.

    The version is taken before the database is read: of two publications at once, the one with the higher version has
    read later, and serving keeps the highest. The value is replaced only by a higher version.
    """
    client = redis_client.client()
    # A counter that was lost begins above every number that it ever gave.
    client.set(names.SNAPSHOT_VERSION, int(time.time() * 1000), nx=True)
    version = int(client.incr(names.SNAPSHOT_VERSION))
    snapshot = build(version)
    if _store(client, snapshot):
        client.publish(names.SNAPSHOT_CHANNEL, str(version))
    return snapshot


def _store(client: redis_client.Client, snapshot: Snapshot) -> bool:
    """Replace the stored snapshot unless a later one is there already (WATCH: no scripts on the server)."""
    with client.pipeline() as pipeline:
        while True:
            try:
                pipeline.watch(names.SNAPSHOT)
                stored = pipeline.get(names.SNAPSHOT)
                if stored and Snapshot.model_validate_json(str(stored)).version > snapshot.version:
                    return False
                pipeline.multi()
                pipeline.set(names.SNAPSHOT, snapshot.model_dump_json())
                pipeline.execute()
                return True
            except redis.WatchError:
                continue


def build(version: int) -> Snapshot:
    """The routes of every live endpoint, every key that holds, and what is left of the teams' quotas."""
    endpoints = Endpoint.objects.filter(deleted=None).select_related("project")
    light = Revision.objects.select_related("model").defer(*ModelVersion.heavy("model__"))
    revisions = Prefetch("revisions", light.order_by("number"))
    running = Prefetch("rollouts", Rollout.objects.filter(state=Rollout.State.RUNNING), to_attr="running")
    routes = [_route(endpoint) for endpoint in endpoints.prefetch_related(revisions, running)]
    keys = ApiKey.objects.filter(Q(expires=None) | Q(expires__gt=timezone.now()), revoked=None)
    entries = {key.digest: _key(key) for key in keys.prefetch_related("endpoints")}
    teams, left = {}, {}
    for use in quota.uses():
        if use.subject:
            left[use.subject] = use.left
        else:
            teams[use.team.pk] = TeamQuota(requests_left=use.left)
    return Snapshot(
        version=version, published=time.time(), routes=routes, keys=entries, teams=teams, requests_left=left
    )


def _route(endpoint: Endpoint) -> Route:
    rollout = next(iter(endpoint.running), None)  # type: ignore[attr-defined]  # prefetched
    live = [
        RouteRevision(
            revision=revision.pk,
            model=revision.model_id,
            number=revision.model.number,
            variant=revision.variant,
            traffic=revision.traffic,
            bundle_key=revision.model.bundle_key,
            bundle_sha256=revision.model.bundle_sha256,
            bundle_bytes=revision.model.bundle_bytes,
        )
        for revision in endpoint.revisions.all()
        # A revision that a rollback would bring back stays warm.
        if revision.traffic or revision.previous_traffic or (rollout and revision.pk == rollout.candidate_id)
    ]
    return Route(
        endpoint=endpoint.pk,
        slug=endpoint.slug,
        team=endpoint.project.team_id,
        project=endpoint.project_id,
        kind=endpoint.kind,  # type: ignore[arg-type]  # a choice field
        template=endpoint.template,
        revisions=live,
        rate_limit=endpoint.rate_limit,
        candidate=rollout and rollout.candidate_id,
        shadow=_shadow(rollout) if rollout and rollout.shadow else None,
    )


def _shadow(rollout: Rollout) -> Shadow:
    return Shadow(rollout=rollout.pk, revision=rollout.candidate_id, share=rollout.shadow)


def _key(key: ApiKey) -> KeyEntry:
    return KeyEntry(
        key=key.pk,
        team=key.team_id,
        endpoints=None if key.all_endpoints else [endpoint.pk for endpoint in key.endpoints.all()],
        expires=key.expires.timestamp() if key.expires else None,
        rate_limit=key.rate_limit,
        origins=key.origins,
    )
