"""The ASGI application of the dashboard and the control API."""

import os

from django.core.asgi import get_asgi_application

from apps.core.body_limit import bounded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slipway.settings")
application = bounded(get_asgi_application())
