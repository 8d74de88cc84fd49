"""Mail that teams send."""

import structlog
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from apps.teams.models import Invitation

log = structlog.get_logger(__name__)


def send_invitation(invitation: Invitation, token: str, *, url: str) -> None:
    """Tell the invited. The token is in the mail only, never in a queue or a log; the inviter can pass it on."""
    inviter = invitation.invited_by.display_name
    subject = _("%(name)s invites you to %(team)s on Slipway") % {"name": inviter, "team": invitation.team.name}
    text = render_to_string(
        "teams/mail/invitation.txt",
        {"invitation": invitation, "inviter": inviter, "link": f"{url}/invitations/{token}"},
    )
    try:
        send_mail(" ".join(subject.split()), text, None, [invitation.email])
    except OSError as error:
        log.warning("invitation_not_mailed", invitation=invitation.pk, error=type(error).__name__)
