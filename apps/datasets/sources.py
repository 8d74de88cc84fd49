"""The files that a dataset version is made of: uploads, or an address that the import is to fetch from."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django.conf import settings

from apps.core.ids import new_id
from apps.datasets.models import DatasetVersion, Upload
from apps.datasets.uploads import clean_filename, ensure_stored, room_of
from apps.teams.models import Team, User
from workers.contracts import names
from workers.contracts.errors import UserError
from workers.contracts.job import InputFile

MAX_FILES: Final = 50


class Source(NamedTuple):
    """A file: where in storage it lies, or will when it has been fetched from `url`, and what its owner calls it."""

    key: str
    name: str
    url: str = ""
    bytes: int = 0


def of_uploads(actor: User, team: Team, uploads: Sequence[Upload]) -> list[Source]:
    """Whole uploads of one's own. Raises UserError `invalid`, `not_found`, `upload_incomplete`, `upload_gone`."""
    if not 1 <= len(uploads) <= MAX_FILES or len({upload.pk for upload in uploads}) < len(uploads):
        raise UserError("invalid", fields=[{"field": "file", "message": f"from 1 to {MAX_FILES} different files"}])
    for upload in uploads:
        if upload.team_id != team.pk or upload.created_by_id != actor.pk:
            raise UserError("not_found")
        ensure_stored(upload)
    return [Source(upload.key, upload.filename, bytes=upload.size) for upload in uploads]


def of_url(team: Team, url: str) -> list[Source]:
    """A file that nobody has fetched yet. Raises UserError `url_not_allowed`."""
    target = settings.SLIPWAY_IMPORTS.target(url.strip())
    return [Source(names.upload_key(team.pk, new_id("upl")), clean_filename(target.filename), url.strip())]


def fields(sources: Sequence[Source]) -> dict[str, Any]:
    """The fields of a version that is made of these files."""
    listed = [{"key": one.key, "name": one.name, "url": one.url} for one in sources]
    plain = len(sources) == 1 and not sources[0].url
    return {"source_key": sources[0].key, "source_name": sources[0].name, "sources": [] if plain else listed}


def inputs(version: DatasetVersion) -> list[InputFile]:
    """The version's files as its import gets them: source, source-1, …"""
    room = room_of(version.dataset.project.team)._asdict()
    listed = version.sources or [{"key": version.source_key}]
    return [
        InputFile(name=f"source-{place}" if place else "source", key=one["key"], url=one.get("url", ""), **room)
        for place, one in enumerate(listed)
    ]
