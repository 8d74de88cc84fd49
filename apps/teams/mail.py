"""Mail that teams send."""

import structlog
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from apps.teams.models import Invitation, Role, Team, User

log = structlog.get_logger(__name__)


def send_invitation(invitation: Invitation, token: str, *, url: str) -> None:
    """Tell the invited. The token is in the mail only, never in a queue or a log; the inviter can pass it on."""
    inviter = invitation.invited_by.display_name
    subject = _("%(name)s invites you to %(team)s on Slipway") % {"name": inviter, "team": invitation.team.name}
    text = render_to_string(
        "teams/mail/invitation.txt",
        {"invitation": invitation, "inviter": inviter, "link": f"{url}/invitations/{token}"},
    )
    _send(subject, text, invitation.email)


def send_quota_notice(team: Team, *, subject: str, percent: int, limit: int, link: str) -> None:
    """Tell the owners and admins how much of the month's requests of a team is used; or of `subject`, if named."""
    values = {"name": subject or team.name, "percent": percent}
    if percent >= 100:
        title = _("%(name)s has used all of this month's requests") % values
    else:
        title = _("%(name)s has used %(percent)s %% of this month's requests") % values
    facts = {"team": team, "subject": subject, "limit": limit, "link": link, "all": percent >= 100}
    text = render_to_string("teams/mail/quota.txt", {**facts, "percent": percent})
    in_charge = team.memberships.filter(role__in=[Role.OWNER, Role.ADMIN], user__is_active=True)
    for email in User.objects.filter(memberships__in=in_charge).values_list("email", flat=True):
        _send(title, text, email)


def _send(subject: str, text: str, email: str) -> None:
    try:
        send_mail(" ".join(subject.split()), text, None, [email])
    except OSError as error:
        log.warning("not_mailed", subject=subject, error=type(error).__name__)
