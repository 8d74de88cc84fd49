"""The ASGI application of the dashboard and the control API."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slipway.settings")
application = get_asgi_application()
