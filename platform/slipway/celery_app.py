"""Celery of the control plane: mail, snapshots, the reaper, rollups. Heavy work goes to the runners by task name."""

import os

from celery import Celery
from celery.signals import worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slipway.settings")

app = Celery("slipway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# apps/ never imports this package: there, celery.current_app is this app.
app.set_default()


@worker_ready.connect
def _publish_at_once(**_: object) -> None:
    """The prediction API waits for routes and keys: not until beat's first turn."""
    app.send_task("endpoints.publish_snapshot")
