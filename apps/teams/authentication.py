"""Who calls the control API: a program with a bearer token, or a browser with a session."""

from datetime import timedelta
from http.cookies import CookieError, SimpleCookie
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.http import QueryDict
from django.utils import timezone
from django.utils.datastructures import MultiValueDict
from rest_framework import authentication
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, UnsupportedMediaType
from rest_framework.request import Request

from apps.teams.models import PersonalToken, User
from workers.contracts import keys
from workers.contracts.errors import UserError

# A token's last use is written at most this often.
_LAST_USED_EVERY = timedelta(minutes=1)


def _token(text: str) -> PersonalToken | None:
    """The token of this text, if it opens anything now."""
    token = PersonalToken.objects.select_related("user").filter(digest=keys.digest(text.strip())).first()
    if token is None or token.revoked or not token.user.is_active:
        return None
    return None if token.expires and token.expires <= timezone.now() else token


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer swt_…` acts as the token's user. Whoever sends one is not asked for cookies."""

    def authenticate(self, request: Request) -> tuple[User, PersonalToken] | None:
        """The user and the token; None where no bearer token was sent. Raises AuthenticationFailed."""
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token, now = _token(text), timezone.now()
        if token is None:
            raise AuthenticationFailed
        if token.last_used is None or now - token.last_used > _LAST_USED_EVERY:
            PersonalToken.objects.filter(pk=token.pk).update(last_used=now)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


# What an HTML form of another site can send without the browser asking us first.
_FORM_TYPES = ("text/plain", "application/x-www-form-urlencoded")


class SessionAuthentication(authentication.SessionAuthentication):
    """The browser's session; writes need the CSRF token in X-CSRFToken and a type that no plain form sends."""

    def enforce_csrf(self, request: Request) -> None:
        """Raises UserError `csrf_failed`, UnsupportedMediaType."""
        http: Any = request._request
        if not hasattr(http, "_post"):
            # The token comes in a header: the body, perhaps a large upload, is not read to look for it.
            http._post, http._files = QueryDict(), MultiValueDict()
        try:
            super().enforce_csrf(http)
        except PermissionDenied:
            raise UserError("csrf_failed") from None
        unsafe = request.method not in ("GET", "HEAD", "OPTIONS", "TRACE")
        if unsafe and request.content_type.partition(";")[0].strip().lower() in _FORM_TYPES:
            raise UnsupportedMediaType(request.content_type)


def is_known(headers: dict[str, str]) -> bool:
    """Whether a request, of which only the headers (names in lower case) have come, has valid credentials.

    For the server's edge, outside of Django's request cycle; views still ask for themselves.
    """
    try:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _token(text) is not None
        cookie = SimpleCookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
        return cookie is not None and SESSION_KEY in SessionStore(cookie.value)
    except CookieError:
        return False
    finally:
        connection.close()


def actor_of(request: Request) -> User:
    """Who calls. Views behind IsAuthenticated only."""
    return cast(User, request.user)
