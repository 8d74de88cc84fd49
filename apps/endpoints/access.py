"""Loading endpoints: see apps.teams.access."""

from apps.endpoints.models import Endpoint
from apps.teams.access import Need, require
from apps.teams.models import User
from workers.contracts.errors import UserError


def endpoint_for(actor: User, endpoint_id: str, *, need: Need = "read") -> Endpoint:
    """An endpoint by id, unless deleted. Raises UserError `not_found` or `not_allowed`."""
    found = Endpoint.objects.select_related("project__team").filter(pk=endpoint_id, deleted=None).first()
    if found is None:
        raise UserError("not_found")
    require(actor, found.project.team_id, need)
    return found
