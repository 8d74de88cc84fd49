"""Loading projects: see apps.teams.access."""

from apps.projects.models import Milestone, Project
from apps.teams.access import Need, require
from apps.teams.models import User
from workers.contracts.errors import UserError


def project_for(actor: User, project_id: str, *, need: Need = "read") -> Project:
    """A project by id. Raises UserError `not_found` or `not_allowed`."""
    found = Project.objects.select_related("team").filter(pk=project_id).first()
    if found is None:
        raise UserError("not_found")
    require(actor, found.team_id, need)
    return found


def milestone_for(actor: User, project_id: str, milestone_id: str, *, need: Need = "read") -> Milestone:
    """A milestone of a project. Raises UserError `not_found` or `not_allowed`."""
    project = project_for(actor, project_id, need=need)
    found = Milestone.objects.select_related("project__team").filter(project=project, pk=milestone_id).first()
    if found is None:
        raise UserError("not_found")
    return found
