"""The Django project: settings, URLs, processes. `celery -A slipway` finds `app` here."""

from slipway.celery_app import app

__all__ = ["app"]
