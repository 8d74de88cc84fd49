"""Security headers on every response of the web process."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from apps.core.middleware import Middleware

# No 'unsafe-*' anywhere. data: images are Tabler's inline SVG icons and the thumbnails that we encode ourselves.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # Pages hold a team's data: nothing between us and the browser may keep them. Static files say otherwise themselves.
    "Cache-Control": "no-store",
}


class SecurityHeadersMiddleware(Middleware):
    """Outermost but one, so that error pages and refused hosts carry the headers too."""

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Add the headers that the view has not set (a download of users' bytes sets a stricter policy)."""
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response
