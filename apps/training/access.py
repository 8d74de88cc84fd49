"""Loading jobs: see apps.teams.access."""

from apps.teams.access import Need, require
from apps.teams.models import User
from apps.training.models import Job
from workers.contracts.errors import UserError


def job_for(actor: User, job_id: str, *, need: Need = "read") -> Job:
    """A job by id. Raises UserError `not_found` or `not_allowed`."""
    found = Job.objects.select_related("project__team", "dataset_version__dataset").filter(pk=job_id).first()
    if found is None:
        raise UserError("not_found")
    require(actor, found.project.team_id, need)
    return found
