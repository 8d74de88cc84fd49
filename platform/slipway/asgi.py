"""The ASGI application of the dashboard and the control API."""

import os
from typing import cast

from django.core.asgi import get_asgi_application

from apps.core.body_limit import Application, bounded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slipway.settings")
application = bounded(cast(Application, get_asgi_application()))
