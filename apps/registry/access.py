"""Loading model versions: see apps.teams.access."""

from apps.registry.models import ModelVersion
from apps.teams.access import Need, require
from apps.teams.models import User
from workers.contracts.errors import UserError


def model_for(actor: User, model_id: str, *, need: Need = "read") -> ModelVersion:
    """A model version by id. Raises UserError `not_found` or `not_allowed`."""
    found = ModelVersion.objects.select_related("project__team").filter(pk=model_id).first()
    if found is None:
        raise UserError("not_found")
    require(actor, found.project.team_id, need)
    return found
