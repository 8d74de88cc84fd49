"""Loading batch predictions: see apps.teams.access."""

from apps.predictions.models import Prediction
from apps.teams.access import Need, require
from apps.teams.models import User
from workers.contracts.errors import UserError


def prediction_for(actor: User, prediction_id: str, *, need: Need = "read") -> Prediction:
    """A batch prediction by id. Raises UserError `not_found` or `not_allowed`."""
    related = Prediction.objects.select_related("project__team", "job", "model", "endpoint")
    found = related.filter(pk=prediction_id).first()
    if found is None:
        raise UserError("not_found")
    require(actor, found.project.team_id, need)
    return found
