"""`manage.py prepare`: everything between an empty database and the first request, in one process."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from slipway import static


class Command(BaseCommand):
    """Migrates, collects static files where they have changed, and makes the demo account of a local installation."""

    help = "Bring database and static files up to date. Safe to run at every start."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the steps; each is quick where there is nothing to do."""
        call_command("migrate", interactive=False, verbosity=0)
        if static_files_changed():
            call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        if settings.SLIPWAY_LOCAL:
            call_command("create_demo")


def static_files_changed() -> bool:
    """Whether a source of static files is newer than what was collected."""
    collected = Path(settings.STATIC_ROOT) / "staticfiles.json"
    if not collected.exists():
        return True
    since = collected.stat().st_mtime
    sources = [settings.ROOT / "static", *(settings.ROOT / "static").rglob("*")]
    # npm gives files the times of their release: its own list of what is installed says when that changed.
    sources += [static.PACKAGES / ".package-lock.json", Path(static.__file__)]
    return any(path.stat().st_mtime > since for path in sources)
