"""Files on their way in: begun, added to in pieces, stored when whole, forgotten when nobody finishes them.

The pieces of an upload gather in a file of SLIPWAY_HOME/uploads, which all web processes share; whoever adds to it
holds its lock. What counts is `Upload.offset`: bytes beyond it, left by a crash, are overwritten.
"""

import fcntl
import hashlib
import hmac
import os
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import FileIO
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import redis
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, Q, Sum
from django.utils import timezone

from apps.core import audit, redis_client
from apps.core.artifacts import storage
from apps.core.ids import new_id
from apps.core.sweeping import sweep
from apps.datasets.models import DatasetVersion, Upload
from apps.teams.access import require
from apps.teams.models import Team, User
from workers.contracts import names
from workers.contracts.errors import UserError, of_disk

# An unfinished upload is kept this long after the last piece; a whole one that no dataset is made of, that long.
EXPIRES_AFTER = timedelta(days=2)
UNUSED_AFTER = timedelta(days=14)
DIGESTS: Final = ("sha1", "sha256", "md5")
"""By what the checksum of a piece can be made."""
OPEN_UPLOADS_PER_USER = 20
_CHUNK = 1 << 20


class Checksum(NamedTuple):
    """What the bytes of a piece have to come to by one of DIGESTS."""

    algorithm: str
    digest: bytes


def clean_filename(text: str) -> str:
    """A name to show: the last part of a path, without control and direction characters. Never used as a path."""
    last = text.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(character for character in last if unicodedata.category(character)[0] != "C")
    return " ".join(shown.split())[-255:] or "upload"


@transaction.atomic
def begin_upload(*, actor: User, team: Team, filename: str, size: int) -> Upload:
    """An upload of `size` bytes, none of them here yet.

    Raises UserError `upload_too_large`, `storage_full`, `too_many_uploads`.
    """
    require(actor, team.pk, "write")
    _check_size(size)
    check_room(team, size)
    _check_open(actor)
    upload = _new(actor, team, filename, size)
    with _disk():
        path = _part(upload)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    upload.save(force_insert=True)
    audit.record(actor=actor, team=team, event="upload.begun", noun=upload, bytes=size)
    return upload


def waiting_upload(owner: User, team: Team, filename: str, url: str) -> Upload:
    """An upload that a runner is to fetch (see fetching). In a transaction.

    Raises UserError `storage_full`, `too_many_uploads`.
    """
    check_room(team, 1)
    _check_open(owner)
    upload = _new(owner, team, filename, 0)
    upload.url = url
    upload.save(force_insert=True)
    return upload


@transaction.atomic
def finish_fetched(upload: Upload, size: int) -> None:
    """Its bytes are in storage. Raises UserError `storage_full`."""
    check_room(upload.team, size)
    upload.size = upload.offset = size
    upload.finished = timezone.now()
    upload.save(update_fields=["size", "offset", "finished"])


def store_upload(*, actor: User, team: Team, filename: str, stream: IO[bytes], size: int) -> Upload:
    """A whole file in one piece, into storage. Raises UserError `upload_too_large`, `storage_full`."""
    require(actor, team.pk, "write")
    _check_size(size)
    upload = _new(actor, team, filename, size)
    # Its row takes the room before its bytes come: what others send meanwhile counts it.
    with transaction.atomic():
        check_room(team, size)
        upload.save(force_insert=True)
    try:
        with _local_copy(upload, stream) as path:
            storage().put_file(path, upload.key)
    except BaseException:
        upload.delete()
        raise
    with transaction.atomic():
        upload.offset, upload.finished = size, timezone.now()
        upload.save(update_fields=["offset", "finished"])
        audit.record(actor=actor, team=team, event="upload.stored", noun=upload, bytes=size)
    return upload


def check_time(upload: Upload) -> None:
    """Whether an unfinished upload can still be gone on with. Raises UserError `upload_gone`."""
    if upload.expires <= timezone.now() and not upload.finished:
        raise UserError("upload_gone")


def append(
    *,
    upload: Upload,
    offset: int,
    stream: IO[bytes],
    announced: int | None = None,
    checksum: Checksum | None = None,
) -> Upload:
    """Add a piece that begins at `offset`; the last one puts the file into storage.

    `announced` is the piece's length where it is known. A piece with a checksum is added whole or not at all. Raises
    UserError `upload_gone`, `upload_locked`, `upload_offset_mismatch`, `upload_too_large`, `upload_checksum_mismatch`;
    InfraError.
    """
    with _locked_part(upload) as part:
        if offset != upload.offset:
            raise UserError("upload_offset_mismatch", offset=upload.offset)
        if announced is not None and offset + announced > upload.size:
            raise UserError("upload_too_large", "The piece goes beyond Upload-Length.", length=upload.size)
        part.seek(offset)
        part.truncate()
        try:
            with _disk():
                _copy(stream, part, upload.size - offset, checksum)
        finally:
            _remember(upload, part)
        if upload.offset == upload.size:
            _store(upload)
    return upload


def imported_from(version: DatasetVersion, user: User) -> list[Upload]:
    """The user's own uploads that a version was imported from, in order; none where one of them is gone."""
    keys = [source["key"] for source in version.sources] or [version.source_key]
    found = {upload.key: upload for upload in Upload.objects.filter(key__in=keys, created_by=user)}
    return [found[key] for key in keys] if len(found) == len(keys) else []


def ensure_stored(upload: Upload) -> Upload:
    """The upload with its bytes in storage. Raises UserError `upload_incomplete`, `upload_gone`."""
    if upload.finished:
        return upload
    if upload.url or upload.offset < upload.size:
        raise UserError("upload_incomplete", offset=upload.offset, length=upload.size)
    # Every byte had come, but storage could not be reached then.
    with _locked_part(upload):
        _store(upload)
    return upload


@transaction.atomic
def cancel_upload(*, actor: User, upload: Upload) -> None:
    """Forget an upload and its bytes. Raises UserError `upload_in_use` where a dataset was made of it."""
    if _is_used(upload):
        raise UserError("upload_in_use")
    audit.record(actor=actor, team=upload.team, event="upload.cancelled", noun=upload)
    _forget(upload)


def stop_fetching(upload_id: str) -> None:
    """Nobody waits for it any more: whoever fetches it stops."""
    with suppress(redis.RedisError):
        redis_client.client().delete(names.fetch_key(upload_id))


def forget_expired() -> int:
    """Delete what nobody finished or used in time; how many that were. Uploads that datasets were made of stay."""
    now = timezone.now()
    late = Q(finished=None, expires__lt=now) | Q(finished__lt=now - UNUSED_AFTER)
    # Most are the one source of a dataset: the database leaves those out at once.
    first = DatasetVersion.objects.filter(source_key=OuterRef("key"))
    expired = [upload for upload in Upload.objects.filter(~Exists(first), late) if not _is_used(upload)]
    return sweep(expired, _forget, "upload_not_forgotten")


def forget_leftovers(*, older_than: timedelta = timedelta(hours=1)) -> int:
    """Remove the parts that no unfinished upload has: of processes that were killed between two steps; how many."""
    folder = Path(settings.SLIPWAY_HOME) / "uploads"
    before = (timezone.now() - older_than).timestamp()
    old = [path for path in folder.glob("upl_*") if path.stat().st_mtime < before]
    wanted = set(Upload.objects.filter(pk__in=[path.name for path in old], finished=None).values_list("pk", flat=True))
    leftovers = [path for path in old if path.name not in wanted]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def _new(actor: User, team: Team, filename: str, size: int, identifier: str = "") -> Upload:
    identifier = identifier or new_id("upl")
    return Upload(
        id=identifier,
        team=team,
        created_by=actor,
        filename=clean_filename(filename),
        size=size,
        key=names.upload_key(team.pk, identifier),
        expires=timezone.now() + EXPIRES_AFTER,
    )


def _is_used(upload: Upload) -> bool:
    """Whether a dataset version was made of it."""
    sources = Q(source_key=upload.key) | Q(sources__contains=[{"key": upload.key}])
    return DatasetVersion.objects.filter(sources).exists()


def _check_size(size: int) -> None:
    most = int(settings.SLIPWAY_MAX_UPLOAD_BYTES)
    if size > most:
        raise UserError("upload_too_large", limit_bytes=most)


def _check_open(actor: User) -> None:
    """Whether somebody may have one more upload that is not whole."""
    User.objects.select_for_update().get(pk=actor.pk)  # many at once count each other
    waiting = Upload.objects.filter(created_by=actor, finished=None, expires__gt=timezone.now())
    if waiting.count() >= OPEN_UPLOADS_PER_USER:
        raise UserError("too_many_uploads", limit=OPEN_UPLOADS_PER_USER)


def check_room(team: Team, size: int) -> None:
    """Whether the team may keep so many bytes more. In a transaction. Raises UserError `storage_full`."""
    most = int(settings.SLIPWAY_TEAM_BYTES)
    if not most:
        return
    Team.objects.select_for_update().get(pk=team.pk)  # many at once count each other
    used = used_by(team)
    if used + size > most:
        raise UserError("storage_full", limit_bytes=most, used_bytes=used)


class Room(NamedTuple):
    """How large a file may be that is fetched; `is_room`: so large because the team may not keep more."""

    max_bytes: int
    is_room: bool


def room_of(team: Team) -> Room:
    """How large a file the team may have fetched."""
    most, of_team = int(settings.SLIPWAY_MAX_UPLOAD_BYTES), int(settings.SLIPWAY_TEAM_BYTES)
    left = max(0, of_team - used_by(team)) if of_team else most
    return Room(min(most, left), left < most)


def count_fetched(version: DatasetVersion) -> None:
    """Record the files that a version's import fetched by itself as uploads, so that they count as the team's storage.

    Raises InfraError; `count_left_out` tries again.
    """
    owner, team = version.created_by, version.dataset.project.team
    for source in version.sources:
        # The id that its key was made with: whoever counts it, it is counted once.
        identifier = source["key"].rpartition("/")[2]
        if not source["url"] or owner is None or Upload.objects.filter(pk=identifier).exists():
            continue
        if storage().exists(source["key"]):
            upload = _new(owner, team, source["name"], storage().size(source["key"]), identifier)
            upload.url, upload.offset, upload.finished = source["url"], upload.size, timezone.now()
            Upload.objects.bulk_create([upload], ignore_conflicts=True)


def count_left_out() -> int:
    """Record what `count_fetched` could not, because the store was away at the import's end; for how many versions."""
    ended = DatasetVersion.objects.filter(created__gt=timezone.now() - EXPIRES_AFTER).exclude(sources=[])
    return sweep(ended.exclude(state=DatasetVersion.State.PROCESSING), count_fetched, "fetched_not_counted")


def used_by(team: Team) -> int:
    """Bytes of the team's uploads, also begun ones, of the data made of them, and of batch predictions with their
    answers."""
    uploaded = Upload.objects.filter(team=team).aggregate(sum=Sum("size"))["sum"] or 0
    stored = DatasetVersion.objects.filter(dataset__project__team=team).exclude(data_key="")
    # A restored version has the file of the one that it restores.
    files = stored.values("data_key").annotate(bytes=Max("data_bytes"))
    made = files.aggregate(sum=Sum("bytes"))["sum"] or 0
    predicted = team.projects.filter(predictions__forgotten=None).aggregate(
        sum=Sum(F("predictions__source_bytes") + F("predictions__result_bytes"))
    )
    return int(uploaded + made + (predicted["sum"] or 0))


def _part(upload: Upload) -> Path:
    return Path(settings.SLIPWAY_HOME) / "uploads" / upload.pk


@contextmanager
def _locked_part(upload: Upload) -> Iterator[FileIO]:
    """The upload's file, locked, and the row as it is under the lock."""
    check_time(upload)
    try:
        # Unbuffered: what write() took is in the file, and a full disk is told at once.
        part = open(_part(upload), "r+b", buffering=0)  # noqa: SIM115
    except FileNotFoundError:
        # Finished meanwhile, or the disk it lay on is gone.
        upload.refresh_from_db()
        if upload.finished:
            raise UserError("upload_offset_mismatch", offset=upload.offset) from None
        raise UserError("upload_gone") from None
    with part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("upload_locked") from None
        upload.refresh_from_db()
        if upload.finished:
            raise UserError("upload_offset_mismatch", offset=upload.offset)
        yield part


def _copy(stream: IO[bytes], part: FileIO, room: int, checksum: Checksum | None) -> None:
    """Append the stream. A piece that is too long, or whose checksum is not met, is dropped whole."""
    start = part.tell()
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
    try:
        _append(stream, part, room, digest)
        if checksum and digest and not hmac.compare_digest(digest.digest(), checksum.digest):
            raise UserError("upload_checksum_mismatch")
    except BaseException as error:
        # Half a piece is as good as any bytes, unless a checksum was to say so.
        if checksum or isinstance(error, UserError):
            part.seek(start)
            part.truncate()
        raise


def _append(stream: IO[bytes], part: FileIO, room: int, digest: Any) -> None:
    while chunk := stream.read(_CHUNK):
        room -= len(chunk)
        if room < 0:
            raise UserError("upload_too_large", "The piece goes beyond Upload-Length.")
        if digest:
            digest.update(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[part.write(rest) :]


def _remember(upload: Upload, part: FileIO) -> None:
    """What is on disk now, also when the rest did not come, is where the client goes on."""
    os.fsync(part.fileno())
    upload.offset, upload.expires = part.tell(), timezone.now() + EXPIRES_AFTER
    upload.save(update_fields=["offset", "expires"])


def _store(upload: Upload) -> None:
    storage().put_file(_part(upload), upload.key)
    upload.finished = timezone.now()
    upload.save(update_fields=["finished"])
    _part(upload).unlink(missing_ok=True)


def _forget(upload: Upload) -> None:
    """Its bytes first: as long as the row is there, somebody comes again for what is left. Raises InfraError."""
    # Also of one that is not finished: it may have been stored by a process that was killed before it could say so.
    storage().delete(upload.key)
    _part(upload).unlink(missing_ok=True)
    if upload.url:
        upload_id = upload.pk
        transaction.on_commit(lambda: stop_fetching(upload_id), robust=True)
    upload.delete()


@contextmanager
def _local_copy(upload: Upload, stream: IO[bytes]) -> Iterator[Path]:
    """The path of a file with the stream's bytes: the one that Django has spooled it to, or a copy."""
    spooled = getattr(stream, "temporary_file_path", None)
    if spooled is not None:
        yield Path(spooled())
        return
    path = _part(upload)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with _disk(), open(path, "xb") as copy:
            shutil.copyfileobj(stream, copy, _CHUNK)
        yield path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise of_disk(error) from error
