"""All addresses of the web process. Each app has `urls` (pages) and `api_urls` (control API)."""

from allauth.account.views import password_reset_from_key
from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from slipway import health

_APPS = ["core", "teams", "projects", "datasets", "training", "registry", "endpoints", "usage", "predictions"]


def _pages(app: str) -> URLResolver:
    return path("", include((f"apps.{app}.urls", app)))


def _api(app: str) -> URLResolver:
    return path("api/v1/", include((f"apps.{app}.api_urls", f"{app}-api")))


urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.live),
    path("readyz", health.ready),
    # Our user ids have an underscore, which allauth's own pattern does not take.
    re_path(
        r"^accounts/password/reset/key/(?P<uidb36>[0-9a-z_]+)-(?P<key>.+)/$",
        password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path("accounts/", include("allauth.urls")),
    path("api/v1/schema", SpectacularJSONAPIView.as_view(), name="api-schema"),
    path("api/v1/docs", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    *(_api(app) for app in _APPS),
    *(_pages(app) for app in _APPS),
]

handler400 = "apps.core.errors.bad_request"
handler403 = "apps.core.errors.permission_denied"
handler404 = "apps.core.errors.not_found"
handler429 = "apps.core.errors.too_many_requests"  # allauth's
handler500 = "apps.core.errors.server_error"
