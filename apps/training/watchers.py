"""Whether somebody who watches a job may still do so: asked again and again while the stream is open."""

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.utils.crypto import constant_time_compare
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from apps.teams.authentication import TokenAuthentication
from apps.teams.models import User
from apps.training.access import job_for
from workers.contracts.errors import UserError


def still_allowed(request: Request, job_id: str) -> bool:
    """Whether the credentials of an open request are still good, and their user still sees the job."""
    try:
        actor = _actor(request)
        if actor is None:
            return False
        job_for(actor, job_id)
    except (UserError, AuthenticationFailed):
        return False
    return True


def _actor(request: Request) -> User | None:
    """The user, read anew. Raises AuthenticationFailed for a token that was revoked."""
    if isinstance(request.successful_authenticator, TokenAuthentication):
        found = TokenAuthentication().authenticate(request)
        return found[0] if found else None
    session = type(request.session)(request.session.session_key)
    user = User.objects.filter(pk=session.get(SESSION_KEY), is_active=True).first()
    if user is None or BACKEND_SESSION_KEY not in session:
        return None
    # A changed password ends every session that began with the old one.
    same = constant_time_compare(session.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())
    return user if same else None
