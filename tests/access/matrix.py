"""Who gets what at which address: THE matrix. A new route needs a line here, or the walk fails.

A line is a method, the route as the resolver spells it, and what each role gets, in the order of ROLES. Arguments of
routes come from ARGUMENTS, or from the line's own. Bodies are JSON for the API and form fields for pages.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from tests.access.scene import Scene

ROLES: Final = ("owner", "admin", "member", "viewer", "stranger", "nobody")

Statuses = tuple[int, int, int, int, int, int]
Body = Callable[[Scene], dict[str, Any]]


class Line(NamedTuple):
    method: str
    route: str
    statuses: Statuses
    body: Body | None = None
    arguments: Mapping[str, Callable[[Scene], str]] = MappingProxyType({})
    headers: Mapping[str, str] = MappingProxyType({})
    query: Body | None = None


# --- The API: strangers find nothing, nobody is asked who they are ---


def everybody(status: int = 200) -> Statuses:
    """What concerns only oneself."""
    return (status, status, status, status, status, 401)


def public(status: int = 200) -> Statuses:
    return (status,) * 6


def readers(status: int = 200) -> Statuses:
    return (status, status, status, status, 404, 401)


def writers(status: int) -> Statuses:
    return (status, status, status, 403, 404, 401)


def admins(status: int) -> Statuses:
    return (status, status, 403, 403, 404, 401)


def owners(status: int) -> Statuses:
    return (status, 403, 403, 403, 404, 401)


def only_bob(status: int) -> Statuses:
    """What belongs to a person, not to the team."""
    return (404, 404, status, 404, 404, 401)


# --- Pages: the same, but nobody is sent to the login ---


def page(statuses: Statuses) -> Statuses:
    return (*statuses[:5], 302)


ARGUMENTS: Final[dict[str, Callable[[Scene], str]]] = {
    "team_id": lambda s: s.cast.ours.team.pk,
    "membership_id": lambda s: s.membership.pk,
    "invitation_id": lambda s: s.invitation.pk,
    "token_id": lambda s: s.token.pk,
    "token": lambda s: s.invitation_token,
    "project_id": lambda s: s.cast.ours.project.pk,
    "milestone_id": lambda s: s.milestone.pk,
    "upload_id": lambda s: s.upload.pk,
    "dataset_id": lambda s: s.cast.ours.dataset.pk,
    "row": lambda s: "1",
    "number": lambda s: "1",
    "job_id": lambda s: s.cast.ours.job.pk,
    "model_id": lambda s: s.cast.ours.model.pk,
    "endpoint_id": lambda s: s.cast.ours.endpoint.pk,
    "prediction_id": lambda s: s.prediction.pk,
    "key_id": lambda s: s.cast.ours.key.pk,
    "file_id": lambda s: s.file.pk,
    "slug": lambda s: s.cast.ours.endpoint.slug,
    "uidb36": lambda s: s.cast.bob.pk,
    "key": lambda s: "unknown",
}


def queued(s: Scene) -> str:
    return s.queued.pk


def failed(s: Scene) -> str:
    return s.failed.pk


def photos(s: Scene) -> str:
    return s.photos.pk


def second(s: Scene) -> str:
    return s.second.pk


def waiting(s: Scene) -> str:
    return s.waiting.pk


def stopped(s: Scene) -> str:
    return s.stopped.pk


def just(**fields: Any) -> Body:
    return lambda s: fields


TUS: Final = {"Tus-Resumable": "1.0.0"}
V1: Final = "api/v1/"

API: Final = [
    Line("GET", V1 + "schema", public()),
    Line("GET", V1 + "docs", public()),
    Line("GET", V1 + "me", everybody()),
    # teams
    Line("POST", V1 + "teams", everybody(201), just(name="New")),
    Line("GET", V1 + "teams/<str:team_id>", readers()),
    Line("PATCH", V1 + "teams/<str:team_id>", admins(200), just(name="New")),
    Line("GET", V1 + "teams/<str:team_id>/members", readers()),
    Line("PATCH", V1 + "teams/<str:team_id>/members/<str:membership_id>", admins(200), just(role="member")),
    # Victor is the viewer: he may take himself out.
    Line("DELETE", V1 + "teams/<str:team_id>/members/<str:membership_id>", (204, 204, 403, 204, 404, 401)),
    Line("GET", V1 + "teams/<str:team_id>/invitations", admins(200)),
    Line("POST", V1 + "teams/<str:team_id>/invitations", admins(201), just(email="x@example.com", role="viewer")),
    Line("DELETE", V1 + "teams/<str:team_id>/invitations/<str:invitation_id>", admins(204)),
    Line("GET", V1 + "teams/<str:team_id>/audit", admins(200)),
    Line("POST", V1 + "invitations/accept", everybody(403), lambda s: {"token": s.invitation_token}),
    Line("GET", V1 + "tokens", everybody()),
    Line("POST", V1 + "tokens", everybody(201), just(name="New")),
    Line("DELETE", V1 + "tokens/<str:token_id>", only_bob(204)),
    # projects
    Line("GET", V1 + "projects", everybody()),
    Line("POST", V1 + "projects", writers(201), lambda s: {"name": "New", "team": s.cast.ours.team.pk}),
    Line("GET", V1 + "projects/<str:project_id>", readers()),
    Line("PATCH", V1 + "projects/<str:project_id>", writers(200), just(name="New")),
    Line("PATCH", V1 + "projects/<str:project_id>", admins(200), just(archived=True)),
    Line("GET", V1 + "projects/<str:project_id>/comments", readers()),
    Line("POST", V1 + "projects/<str:project_id>/comments", writers(201), just(text="New")),
    Line("GET", V1 + "projects/<str:project_id>/milestones", readers()),
    Line("POST", V1 + "projects/<str:project_id>/milestones", writers(201), just(title="New")),
    Line("POST", V1 + "projects/<str:project_id>/milestones/<str:milestone_id>/complete", writers(200)),
    # uploads and datasets
    Line(
        "POST",
        V1 + "uploads",
        # Without a team: the first one that one may write to, which Victor has not.
        (201, 201, 201, 422, 201, 401),
        headers={**TUS, "Upload-Length": "9"},
    ),
    Line("HEAD", V1 + "uploads/<str:upload_id>", only_bob(200), headers=TUS),
    Line("PATCH", V1 + "uploads/<str:upload_id>", only_bob(415), headers=TUS),
    Line("DELETE", V1 + "uploads/<str:upload_id>", only_bob(204), headers=TUS),
    Line("GET", V1 + "uploads/<str:upload_id>/preview", only_bob(200)),
    # The upload was sent: it is not fetched, by nobody.
    Line("GET", V1 + "uploads/<str:upload_id>/fetch", only_bob(404)),
    Line("POST", V1 + "uploads/<str:upload_id>/fetch", only_bob(404)),
    Line(
        "POST",
        V1 + "uploads/fetch",
        writers(202),
        lambda s: {"project": s.cast.ours.project.pk, "url": "https://example.com/a.csv"},
    ),
    Line("GET", V1 + "datasets", everybody()),
    Line(
        "POST",
        V1 + "datasets",
        (404, 404, 202, 403, 404, 401),  # the upload is Bob's
        lambda s: {"project": s.cast.ours.project.pk, "name": "New", "kind": "text", "upload": s.upload.pk},
    ),
    Line("GET", V1 + "datasets/<str:dataset_id>", readers()),
    Line("PATCH", V1 + "datasets/<str:dataset_id>", writers(200), just(name="Renamed")),
    Line("DELETE", V1 + "datasets/<str:dataset_id>", writers(204)),
    Line("POST", V1 + "datasets/<str:dataset_id>/untrash", writers(409)),  # it is not in the trash
    Line("GET", V1 + "datasets/<str:dataset_id>/diff", readers()),
    Line("GET", V1 + "datasets/<str:dataset_id>/errors.csv", readers()),
    Line("GET", V1 + "datasets/<str:dataset_id>/data", readers()),
    Line(
        "POST",
        V1 + "datasets/<str:dataset_id>/append",
        (404, 404, 202, 403, 404, 401),  # the upload is Bob's
        lambda s: {"upload": s.upload.pk},
    ),
    Line("POST", V1 + "datasets/<str:dataset_id>/restore", writers(409), just(version=1)),  # there is no newer one
    Line(
        "GET", V1 + "datasets/<str:dataset_id>/repair", readers(422), query=just(code="text_markup")
    ),  # not found there
    Line("POST", V1 + "datasets/<str:dataset_id>/repair", writers(422), just(code="text_markup")),
    Line("GET", V1 + "datasets/<str:dataset_id>/rows", readers()),
    Line(
        "PATCH",
        V1 + "datasets/<str:dataset_id>/rows",
        writers(202),
        just(changes=[{"row": 1, "label": "new"}]),
    ),
    Line("GET", V1 + "datasets/<str:dataset_id>/rows/<int:row>/image", readers(), arguments={"dataset_id": photos}),
    # jobs
    Line("GET", V1 + "task-templates", everybody()),
    Line("GET", V1 + "jobs", everybody()),
    Line(
        "POST",
        V1 + "jobs",
        writers(202),
        lambda s: {
            "project": s.cast.ours.project.pk,
            "dataset": s.cast.ours.dataset.pk,
            "template": "text-classification",
        },
    ),
    Line("GET", V1 + "jobs/<str:job_id>", readers()),
    Line("POST", V1 + "jobs/<str:job_id>/cancel", writers(202), arguments={"job_id": queued}),
    Line("POST", V1 + "jobs/<str:job_id>/retry", writers(202), arguments={"job_id": failed}),
    Line("GET", V1 + "jobs/<str:job_id>/events", readers()),
    Line("GET", V1 + "jobs/<str:job_id>/series", readers()),
    Line("GET", V1 + "jobs/<str:job_id>/trials", readers()),
    # models
    Line("GET", V1 + "models", everybody()),
    Line("GET", V1 + "models/<str:model_id>", readers()),
    Line("GET", V1 + "models/<str:model_id>/bundle", readers()),
    # predictions
    Line("GET", V1 + "predictions", everybody()),
    Line(
        "POST",
        V1 + "predictions",
        (404, 404, 202, 403, 404, 401),  # the upload is Bob's
        lambda s: {"model": s.cast.ours.model.pk, "upload": s.upload.pk},
    ),
    Line(
        "POST",
        V1 + "predictions",
        (404, 404, 202, 403, 404, 401),
        lambda s: {"endpoint": s.cast.ours.endpoint.pk, "upload": s.upload.pk, "mapping": {"text": "text"}},
    ),
    Line("GET", V1 + "predictions/<str:prediction_id>", readers()),
    Line("GET", V1 + "predictions/<str:prediction_id>/download", readers()),
    Line("GET", V1 + "predictions/<str:prediction_id>/download", readers(409), arguments={"prediction_id": waiting}),
    Line("POST", V1 + "predictions/<str:prediction_id>/cancel", writers(202), arguments={"prediction_id": waiting}),
    Line("POST", V1 + "predictions/<str:prediction_id>/retry", writers(202), arguments={"prediction_id": stopped}),
    # endpoints
    Line("GET", V1 + "endpoints", everybody()),
    Line(
        "POST",
        V1 + "endpoints",
        writers(201),
        lambda s: {"project": s.cast.ours.project.pk, "name": "New", "model": s.cast.ours.model.pk},
    ),
    Line("GET", V1 + "endpoints/<str:endpoint_id>", readers()),
    Line("DELETE", V1 + "endpoints/<str:endpoint_id>", admins(204)),
    Line(
        "POST",
        V1 + "endpoints/<str:endpoint_id>/deploy",
        writers(202),
        lambda s: {"model": s.cast.ours.model.pk, "traffic": 50},
    ),
    Line("POST", V1 + "endpoints/<str:endpoint_id>/rollback", writers(202), arguments={"endpoint_id": second}),
    Line("POST", V1 + "endpoints/<str:endpoint_id>/promote", writers(202), arguments={"endpoint_id": second}),
    # keys
    Line("GET", V1 + "keys", readers(), query=lambda s: {"team": s.cast.ours.team.pk}),
    Line("POST", V1 + "keys", admins(201), lambda s: {"team": s.cast.ours.team.pk, "name": "New"}),
    Line("GET", V1 + "keys/<str:key_id>", readers()),
    Line("DELETE", V1 + "keys/<str:key_id>", admins(204)),
    # usage
    Line("GET", V1 + "usage", everybody()),
    Line("GET", V1 + "usage/compute", everybody()),
    Line("GET", V1 + "usage.csv", everybody()),
    Line("GET", V1 + "usage/reconciliation", readers(), query=lambda s: {"team": s.cast.ours.team.pk}),
    Line("GET", V1 + "teams/<str:team_id>/limits", readers()),
    Line("PUT", V1 + "teams/<str:team_id>/limits", owners(200), just(monthly_requests=100)),
    Line("GET", V1 + "usage/files", admins(200), query=lambda s: {"team": s.cast.ours.team.pk}),
    Line("GET", V1 + "usage/files/<str:file_id>", admins(200)),
]

PAGES: Final = [
    Line("GET", "healthz", public()),
    Line("GET", "readyz", public()),
    Line("GET", "", (302, 302, 302, 302, 302, 200)),
    # the team
    Line("GET", "teams/new", page(everybody())),
    Line("POST", "teams/new", page(everybody(303)), just(name="New")),
    Line("GET", "teams/<str:team_id>", page(readers())),
    Line("GET", "teams/<str:team_id>/settings", page(readers())),
    Line("POST", "teams/<str:team_id>/settings", page(admins(303)), just(name="New")),
    Line("GET", "teams/<str:team_id>/audit", page(admins(200))),
    Line("GET", "teams/<str:team_id>/members", page(readers())),
    Line("POST", "teams/<str:team_id>/members", page(admins(200)), just(email="x@example.com", role="viewer")),
    Line("POST", "teams/<str:team_id>/members/<str:membership_id>/role", page(admins(303)), just(role="member")),
    Line("POST", "teams/<str:team_id>/members/<str:membership_id>/remove", (303, 303, 403, 303, 404, 302)),
    Line("POST", "teams/<str:team_id>/invitations/<str:invitation_id>/withdraw", page(admins(303))),
    Line("GET", "teams/<str:team_id>/keys", page(readers())),
    Line("POST", "teams/<str:team_id>/keys", page(admins(200)), just(name="New")),
    Line("POST", "keys/<str:key_id>/revoke", page(admins(303))),
    Line("GET", "teams/<str:team_id>/usage", page(readers())),
    Line("GET", "teams/<str:team_id>/usage/ledger", page(readers())),
    Line("GET", "teams/<str:team_id>/usage/limit", page(owners(200))),
    Line("POST", "teams/<str:team_id>/usage/limit", page(owners(303)), just(monthly_requests="100")),
    Line("GET", "usage/files/<str:file_id>", page(admins(200))),
    # Whoever holds the link sees who invites; accepting is for the invited alone, and never by GET.
    Line("GET", "invitations/<str:token>", public()),
    Line("POST", "invitations/<str:token>", (403, 403, 403, 403, 403, 200)),
    # oneself
    Line("GET", "account", page(everybody())),
    Line("POST", "account", page(everybody(303)), just(name="New")),
    Line("GET", "account/tokens", page(everybody())),
    Line("POST", "account/tokens", page(everybody(200)), just(name="New")),
    Line("POST", "account/tokens/<str:token_id>/revoke", page(only_bob(303))),
    # projects
    Line("GET", "teams/<str:team_id>/projects/new", page(writers(200))),
    Line("POST", "teams/<str:team_id>/projects/new", page(writers(303)), just(name="New")),
    Line("GET", "projects/<str:project_id>", page(readers())),
    Line("GET", "projects/<str:project_id>/settings", page(readers())),
    Line("POST", "projects/<str:project_id>/settings", page(writers(303)), just(name="New")),
    Line("POST", "projects/<str:project_id>/archive", page(admins(303))),
    Line("POST", "projects/<str:project_id>/restore", page(admins(409))),
    Line("GET", "projects/<str:project_id>/activity", page(readers())),
    Line("POST", "projects/<str:project_id>/comments", page(writers(303)), just(text="New")),
    Line("POST", "projects/<str:project_id>/milestones", page(writers(303)), just(title="New")),
    Line("POST", "projects/<str:project_id>/milestones/<str:milestone_id>/complete", page(writers(303))),
    Line("GET", "projects/<str:project_id>/usage", page(readers())),
    # data
    Line("GET", "projects/<str:project_id>/datasets", page(readers())),
    Line("GET", "projects/<str:project_id>/datasets/new", page(writers(200))),
    Line(
        "POST",
        "projects/<str:project_id>/datasets/new",
        page(writers(303)),
        just(name="New", kind="text", url="https://example.com/a.csv"),
    ),
    Line("GET", "projects/<str:project_id>/datasets/new/<str:upload_id>", (404, 404, 200, 403, 404, 302)),
    Line(
        "POST",
        "projects/<str:project_id>/datasets/new/<str:upload_id>",
        (404, 404, 303, 403, 404, 302),
        just(name="New", kind="text", **{"text-text": "text", "text-label": "label"}),
    ),
    Line("GET", "datasets/<str:dataset_id>", page(readers())),
    Line("GET", "datasets/<str:dataset_id>/append", page(writers(200))),
    Line("POST", "datasets/<str:dataset_id>/append", page(writers(303)), just(url="https://example.com/a.csv")),
    Line("GET", "datasets/<str:dataset_id>/append/<str:upload_id>", (404, 404, 200, 403, 404, 302)),
    Line("POST", "datasets/<str:dataset_id>/append/<str:upload_id>", (404, 404, 303, 403, 404, 302)),
    Line("GET", "datasets/<str:dataset_id>/rows", page(readers())),
    Line("GET", "projects/<str:project_id>/datasets/trash", page(readers())),
    Line("GET", "datasets/<str:dataset_id>/settings", page(writers(200))),
    Line("POST", "datasets/<str:dataset_id>/settings", page(writers(303)), just(name="Renamed")),
    Line("POST", "datasets/<str:dataset_id>/put-into-trash", page(writers(303))),
    Line("POST", "datasets/<str:dataset_id>/untrash", page(writers(409))),
    Line("GET", "datasets/<str:dataset_id>/diff", page(readers())),
    Line("GET", "datasets/<str:dataset_id>/repair", page(writers(303)), query=just(code="text_markup")),
    Line("POST", "datasets/<str:dataset_id>/repair", page(writers(422)), just(code="text_markup")),
    Line("POST", "datasets/<str:dataset_id>/restore/<int:number>", page(writers(409))),
    Line("GET", "datasets/<str:dataset_id>/rows/matching", page(readers())),
    Line(
        "POST",
        "datasets/<str:dataset_id>/rows/labels",
        page(writers(303)),
        just(version=1, changes='[{"row": 1, "label": "new"}]'),
    ),
    Line("GET", "datasets/<str:dataset_id>/rows/<int:row>/image", page(readers()), arguments={"dataset_id": photos}),
    # training
    Line("GET", "projects/<str:project_id>/templates", page(readers())),
    Line("GET", "projects/<str:project_id>/jobs", page(readers())),
    Line("GET", "projects/<str:project_id>/jobs/new", page(writers(303))),
    Line("GET", "projects/<str:project_id>/compare", page(readers())),
    Line("GET", "jobs/<str:job_id>/trials", page(readers())),
    Line("GET", "jobs/<str:job_id>", page(readers())),
    Line("GET", "jobs/<str:job_id>", page(readers()), arguments={"job_id": failed}),
    Line("POST", "jobs/<str:job_id>/cancel", page(writers(303)), arguments={"job_id": queued}),
    Line("POST", "jobs/<str:job_id>/retry", page(writers(303)), arguments={"job_id": failed}),
    Line("GET", "projects/<str:project_id>/models", page(readers())),
    Line("GET", "models/<str:model_id>", page(readers())),
    # predictions
    Line("GET", "projects/<str:project_id>/predictions", page(readers())),
    Line("GET", "predictions/<str:prediction_id>", page(readers())),
    Line("GET", "models/<str:model_id>/predict", page(writers(200))),
    Line("GET", "endpoints/<str:endpoint_id>/predict", page(writers(200))),
    Line("GET", "models/<str:model_id>/predict/<str:upload_id>", (404, 404, 200, 403, 404, 302)),
    Line("POST", "models/<str:model_id>/predict/<str:upload_id>", (404, 404, 303, 403, 404, 302), just(format="csv")),
    Line("GET", "endpoints/<str:endpoint_id>/predict/<str:upload_id>", (404, 404, 200, 403, 404, 302)),
    Line(
        "POST",
        "endpoints/<str:endpoint_id>/predict/<str:upload_id>",
        (404, 404, 303, 403, 404, 302),
        lambda s: {"role-text": "text"},
    ),
    # endpoints
    Line("GET", "projects/<str:project_id>/endpoints", page(readers())),
    Line("GET", "projects/<str:project_id>/endpoints/new", page(writers(200))),
    Line(
        "POST",
        "projects/<str:project_id>/endpoints/new",
        page(writers(303)),
        lambda s: {"name": "New", "model": s.cast.ours.model.pk},
    ),
    Line("GET", "endpoints/<str:endpoint_id>", page(readers())),
    Line("POST", "endpoints/<str:endpoint_id>/try", page(writers(200)), just(text="Hello")),
    Line(
        "POST",
        "endpoints/<str:endpoint_id>/deploy",
        page(writers(303)),
        lambda s: {"model": s.cast.ours.model.pk, "traffic": 100},
    ),
    Line("POST", "endpoints/<str:endpoint_id>/rollback", page(writers(303)), arguments={"endpoint_id": second}),
    Line("POST", "endpoints/<str:endpoint_id>/promote", page(writers(303)), arguments={"endpoint_id": second}),
    Line("POST", "endpoints/<str:endpoint_id>/delete", page(admins(303))),
]

# --- allauth's pages: for whoever is signed in, or is not; nothing of a team is in them ---

INSIDE: Final = page(everybody())
OUTSIDE: Final = (302, 302, 302, 302, 302, 200)

ACCOUNTS: Final = [
    Line("GET", "accounts/login/", OUTSIDE),
    Line("GET", "accounts/logout/", INSIDE),
    Line("GET", "accounts/inactive/", public()),
    Line("GET", "accounts/signup/", OUTSIDE),
    # The cast have neither a password nor a second factor to prove themselves by.
    Line("GET", "accounts/reauthenticate/", page(everybody(403))),
    Line("GET", "accounts/2fa/reauthenticate/", page(everybody(403))),
    Line("GET", "accounts/email/", INSIDE),
    Line("GET", "accounts/confirm-email/", public()),
    Line("GET", "accounts/password/change/", page(everybody(302))),
    Line("GET", "accounts/password/set/", INSIDE),
    Line("GET", "accounts/password/reset/", public()),
    Line("GET", "accounts/password/reset/done/", public()),
    Line("GET", "accounts/password/reset/key/done/", public()),
    Line("GET", "accounts/login/code/confirm/", (302,) * 6),
    Line("GET", r"accounts/^confirm-email/(?P<key>[-:\w]+)/$", public()),
    Line("GET", r"^accounts/password/reset/key/(?P<uidb36>[0-9a-z_]+)-(?P<key>.+)/$", public()),
    Line("GET", r"accounts/^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$", public()),
    Line("GET", "accounts/2fa/", INSIDE),
    Line("GET", "accounts/2fa/authenticate/", (302,) * 6),
    Line("GET", "accounts/2fa/totp/activate/", INSIDE),
    Line("GET", "accounts/2fa/totp/deactivate/", page(everybody(404))),
    Line("GET", "accounts/2fa/recovery-codes/", page(everybody(404))),
    Line("GET", "accounts/2fa/recovery-codes/generate/", INSIDE),
    Line("GET", "accounts/2fa/recovery-codes/download/", page(everybody(404))),
]

MATRIX: Final = [*API, *PAGES, *ACCOUNTS]
