"""The audit trail in words: "dataset.created" and a name become "imported the dataset Reviews"."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.core.models import AuditEntry

# What stands after the person's name. %(name)s is the object's name at the time.
WORDS: dict[str, str | Promise] = {
    "team.created": _("created the team %(name)s"),
    "team.renamed": _("renamed the team to %(name)s"),
    "team.limits_changed": _("changed the limits of %(name)s"),
    "team.quota_nearly_used_up": _("noted that %(name)s has used most of this month's requests"),
    "team.quota_used_up": _("noted that %(name)s has used all of this month's requests"),
    "invitation.created": _("invited %(name)s"),
    "invitation.withdrawn": _("withdrew the invitation of %(name)s"),
    "invitation.accepted": _("joined the team by the invitation of %(name)s"),
    "member.role_changed": _("changed the role of %(name)s"),
    "member.removed": _("removed %(name)s from the team"),
    "member.left": _("left the team"),
    "token.created": _("created the personal token %(name)s"),
    "token.revoked": _("revoked the personal token %(name)s"),
    "key.created": _("created the API key %(name)s"),
    "key.revoked": _("revoked the API key %(name)s"),
    "project.created": _("created the project %(name)s"),
    "project.updated": _("edited the project %(name)s"),
    "project.archived": _("archived the project %(name)s"),
    "comment.added": _("commented: %(name)s"),
    "milestone.added": _("added the milestone %(name)s"),
    "milestone.completed": _("completed the milestone %(name)s"),
    "project.restored": _("took the project %(name)s back"),
    "upload.begun": _("began to upload %(name)s"),
    "upload.stored": _("uploaded %(name)s"),
    "upload.fetching": _("had %(name)s fetched"),
    "upload.cancelled": _("gave up uploading %(name)s"),
    "dataset.created": _("added the dataset %(name)s"),
    "dataset.imported": _("finished importing %(name)s"),
    "dataset.import_failed": _("could not import %(name)s"),
    "dataset.corrected": _("corrected rows of %(name)s"),
    "dataset.appended": _("added rows to %(name)s"),
    "dataset.repaired": _("repaired %(name)s"),
    "dataset.renamed": _("renamed the dataset to %(name)s"),
    "dataset.trashed": _("put the dataset %(name)s into the trash"),
    "dataset.untrashed": _("took the dataset %(name)s out of the trash"),
    "dataset.removed": _("removed the dataset %(name)s, which was in the trash for 30 days"),
    "dataset.restored": _("restored an earlier version of %(name)s"),
    "job.created": _("started the job %(name)s"),
    "job.cancelled": _("cancelled the job %(name)s"),
    "model.registered": _("registered the model %(name)s"),
    "prediction.created": _("had the file %(name)s predicted"),
    "prediction.retried": _("started predicting %(name)s again"),
    "prediction.finished": _("finished predicting %(name)s"),
    "endpoint.created": _("created the endpoint %(name)s"),
    "endpoint.deployed": _("deployed to the endpoint %(name)s"),
    "endpoint.promoted": _("promoted the new model of the endpoint %(name)s"),
    "endpoint.rolled_back": _("rolled back the endpoint %(name)s"),
    "endpoint.taken_back": _("took the new model of the endpoint %(name)s back: it broke its rule"),
    "endpoint.deleted": _("deleted the endpoint %(name)s"),
}

ICONS = {
    "team": "users", "invitation": "mail", "member": "user", "token": "terminal-2", "key": "key", "project": "folder",
    "comment": "message-circle", "milestone": "flag", "upload": "upload", "dataset": "database", "job": "bolt",
    "model": "box", "endpoint": "rocket", "prediction": "file-spark",
}  # fmt: skip


def words(entry: AuditEntry) -> str:
    """What was done, to follow the name of who did it."""
    sentence = WORDS.get(entry.event)
    if sentence is None:
        noun, _dot, verb = entry.event.partition(".")
        return f"{noun} {verb.replace('_', ' ')}: {entry.noun_name}"
    return str(sentence) % {"name": entry.noun_name}


def symbol(entry: AuditEntry) -> str:
    """The icon of the kind of object."""
    return ICONS.get(entry.event.partition(".")[0], "activity")
