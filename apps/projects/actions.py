"""What changes projects."""

from datetime import date

from django.db import transaction
from django.utils import timezone

from apps.core import audit
from apps.projects.models import Comment, Milestone, Project
from apps.teams.access import require
from apps.teams.models import Team, User
from workers.contracts.errors import UserError


@transaction.atomic
def create_project(*, actor: User, team: Team, name: str, brief: str = "") -> Project:
    """A project of a team."""
    require(actor, team.pk, "write")
    project = Project.objects.create(team=team, name=name.strip(), brief=brief.strip(), created_by=actor)
    audit.record(actor=actor, team=team, project=project, event="project.created", noun=project)
    return project


@transaction.atomic
def update_project(*, actor: User, project: Project, name: str | None = None, brief: str | None = None) -> Project:
    """Another name or brief; None leaves it as it is."""
    require(actor, project.team_id, "write")
    before = {"name": project.name, "brief": project.brief}
    after = {
        "name": before["name"] if name is None else name.strip(),
        "brief": before["brief"] if brief is None else brief.strip(),
    }
    project.name, project.brief = after["name"], after["brief"]
    project.save(update_fields=["name", "brief"])
    changed = [field for field in after if after[field] != before[field]]
    audit.record(
        actor=actor, team=project.team, project=project, event="project.updated", noun=project, changed=changed
    )
    return project


@transaction.atomic
def archive_project(*, actor: User, project: Project) -> Project:
    """Put a project away: it stays as it is and is listed no more. Admins and owners."""
    return _set_archived(actor, project, "project.archived", archived=True)


@transaction.atomic
def restore_project(*, actor: User, project: Project) -> Project:
    """Take an archived project back. Admins and owners."""
    return _set_archived(actor, project, "project.restored", archived=False)


def _set_archived(actor: User, project: Project, event: str, *, archived: bool) -> Project:
    require(actor, project.team_id, "admin")
    moment = timezone.now() if archived else None
    if not Project.objects.filter(pk=project.pk, archived__isnull=archived).update(archived=moment):
        raise UserError("conflict")
    project.archived = moment
    audit.record(actor=actor, team=project.team, project=project, event=event, noun=project)
    return project


@transaction.atomic
def add_comment(*, actor: User, project: Project, text: str) -> Comment:
    """Say something about a project."""
    require(actor, project.team_id, "write")
    comment = Comment.objects.create(project=project, author=actor, text=text.strip())
    audit.record(actor=actor, team=project.team, project=project, event="comment.added", noun=comment)
    return comment


@transaction.atomic
def add_milestone(*, actor: User, project: Project, title: str, due: date | None = None) -> Milestone:
    """Set the project an aim."""
    require(actor, project.team_id, "write")
    milestone = Milestone.objects.create(project=project, title=title.strip(), due=due)
    audit.record(actor=actor, team=project.team, project=project, event="milestone.added", noun=milestone)
    return milestone


@transaction.atomic
def complete_milestone(*, actor: User, milestone: Milestone) -> Milestone:
    """Say that an aim is reached. Raises UserError `conflict` where it is already."""
    project = milestone.project
    require(actor, project.team_id, "write")
    now = timezone.now()
    if not Milestone.objects.filter(pk=milestone.pk, done=None).update(done=now):
        raise UserError("conflict")
    milestone.done = now
    audit.record(actor=actor, team=project.team, project=project, event="milestone.completed", noun=milestone)
    return milestone
