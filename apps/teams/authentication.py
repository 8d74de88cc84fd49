"""Bearer tokens for the control API."""

from datetime import timedelta

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from apps.teams.models import PersonalToken, User
from workers.contracts import keys

# A token's last use is written at most this often.
_LAST_USED_EVERY = timedelta(minutes=1)


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer swt_…` acts as the token's user."""

    def authenticate(self, request: Request) -> tuple[User, PersonalToken] | None:
        """The user and the token; None where no bearer token was sent. Raises AuthenticationFailed."""
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = PersonalToken.objects.select_related("user").filter(digest=keys.digest(text.strip())).first()
        now = timezone.now()
        if token is None or token.revoked or (token.expires and token.expires <= now) or not token.user.is_active:
            raise AuthenticationFailed
        if token.last_used is None or now - token.last_used > _LAST_USED_EVERY:
            PersonalToken.objects.filter(pk=token.pk).update(last_used=now)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
