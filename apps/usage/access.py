"""Loading what the ledger was written to: see apps.teams.access."""

from apps.teams.access import Need, require
from apps.teams.models import User
from apps.usage.models import LedgerFile
from workers.contracts.errors import UserError


def ledger_file_for(actor: User, file_id: str, *, need: Need = "admin") -> LedgerFile:
    """A file that is in storage, by id. Raises UserError `not_found` or `not_allowed`."""
    found = LedgerFile.objects.filter(pk=file_id, rows__isnull=False).first()
    if found is None:
        raise UserError("not_found")
    require(actor, found.team_id, need)
    return found
