"""All addresses of the web process. Each app has `urls` (pages) and `api_urls` (control API)."""

from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularJSONAPIView

from slipway import health

_APPS = ["core", "teams", "projects", "datasets", "training", "registry", "endpoints", "usage"]


def _pages(app: str) -> URLResolver:
    return path("", include((f"apps.{app}.urls", app)))


def _api(app: str) -> URLResolver:
    return path("api/v1/", include((f"apps.{app}.api_urls", f"{app}-api")))


urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.live),
    path("readyz", health.ready),
    path("accounts/", include("allauth.urls")),
    path("api/v1/schema", SpectacularJSONAPIView.as_view(), name="api-schema"),
    *(_api(app) for app in _APPS),
    *(_pages(app) for app in _APPS),
]
