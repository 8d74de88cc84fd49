"""`manage.py create_demo`: an account to start with, on a local installation."""

import json
import secrets
from pathlib import Path
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from apps.teams.actions import create_personal_token, create_team
from apps.teams.models import User
from slipway.embedded import write_private

EMAIL = "demo@slipway.local"


class Command(BaseCommand):
    """Makes the account once; later runs only bring the addresses in demo.json up to date."""

    help = "Create the demo account of a local installation and write SLIPWAY_HOME/demo.json."

    def handle(self, *args: Any, **options: Any) -> None:
        """Write demo.json, readable by its owner alone."""
        if not settings.SLIPWAY_LOCAL:
            raise CommandError(
                "A demo account exists on local installations only: DATABASE_URL names another database."
            )
        path: Path = settings.SLIPWAY_HOME / "demo.json"
        account = self._known(path) or self._create()
        addresses = {"url": settings.SLIPWAY_URL, "predict_url": settings.SLIPWAY_PREDICT_URL}
        write_private(path, json.dumps({**addresses, **account}, indent=1) + "\n")

    def _known(self, path: Path) -> dict[str, str] | None:
        """What an earlier run wrote, even if its owner has since removed the account: it is made once."""
        try:
            found = json.loads(path.read_text("utf-8"))
            return {name: found[name] for name in ("email", "password", "token")}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @transaction.atomic
    def _create(self) -> dict[str, str]:
        """The account with a fresh password and token; it exists already where only demo.json was lost."""
        password = secrets.token_urlsafe(15)
        user = User.objects.filter(email=EMAIL).first()
        if user is None:
            user = User.objects.create_user(EMAIL, name="Demo")
            EmailAddress.objects.create(user=user, email=EMAIL, verified=True, primary=True)
            create_team(actor=user, name="Demo team")
        user.set_password(password)
        user.save(update_fields=["password"])
        _, token = create_personal_token(actor=user, name="demo.json")
        return {"email": EMAIL, "password": password, "token": token}
