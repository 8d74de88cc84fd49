"""Periodic work of endpoints."""

from celery import shared_task

from apps.endpoints import actions, publish, rollouts
from apps.endpoints.models import Rollout


@shared_task(name="endpoints.publish_snapshot")
def publish_snapshot() -> None:
    """Mend what is published: after a lost Redis, a missed publication, a key that expired."""
    publish.publish_if_changed()


@shared_task(name="endpoints.judge_candidates")
def judge_candidates() -> None:
    """Take back every candidate that has broken its rule."""
    for rollout in Rollout.objects.judged():
        if broken := rollouts.broken(rollout):
            actions.take_back_candidate(rollout=rollout, broken=broken)
