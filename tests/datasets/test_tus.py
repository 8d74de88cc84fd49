"""Resumable uploads as any tus 1.0 client sends them."""

import base64
import fcntl
import hashlib
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from apps.core.artifacts import storage
from apps.datasets import uploads
from apps.datasets.models import DatasetVersion, Upload
from tests.cast import Cast
from workers.contracts.errors import UserError

TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = "application/offset+octet-stream"
ApiOf = Callable[..., APIClient]


def begin(client: APIClient, size: int, **metadata: str) -> Any:
    """POST a creation; the reply."""
    pairs = [f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items()]
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": ",".join(pairs)}
    return client.generic("POST", "/api/v1/uploads", b"", content_type="", headers=headers)


def patch(client: APIClient, address: str, offset: int, data: bytes, **headers: str) -> Any:
    return client.generic(
        "PATCH", address, data, content_type=OCTETS, headers={**TUS, "Upload-Offset": str(offset), **headers}
    )


@pytest.fixture
def client(cast: Cast, api_of: ApiOf) -> APIClient:
    return api_of(cast.bob)


def test_a_file_arrives_in_pieces_and_is_stored_whole(client: APIClient, own_home: Path) -> None:
    reply = begin(client, 10, filename="data.csv")
    assert reply.status_code == 201
    address = reply["Location"]
    assert patch(client, address, 0, b"01234")["Upload-Offset"] == "5"
    head = client.head(address, headers=TUS)
    assert (head["Upload-Offset"], head["Upload-Length"], head["Cache-Control"]) == ("5", "10", "no-store")
    assert "Upload-Expires" in head
    last = patch(client, address, 5, b"56789")
    assert (last.status_code, last["Upload-Offset"], last["Tus-Resumable"]) == (204, "10", "1.0.0")
    upload = Upload.objects.get()
    assert upload.finished
    assert storage().read_bytes(upload.key) == b"0123456789"
    assert list((own_home / "uploads").iterdir()) == []


def test_the_first_bytes_may_come_with_the_creation(client: APIClient) -> None:
    headers = {**TUS, "Upload-Length": "4"}
    reply = client.generic("POST", "/api/v1/uploads", b"abcd", content_type=OCTETS, headers=headers)
    assert (reply.status_code, reply["Upload-Offset"]) == (201, "4")
    assert storage().read_bytes(Upload.objects.get().key) == b"abcd"


def test_an_empty_file_is_finished_at_once(client: APIClient) -> None:
    assert begin(client, 0).status_code == 201
    assert Upload.objects.get().finished


def test_a_piece_at_the_wrong_place_is_refused_and_changes_nothing(client: APIClient) -> None:
    address = begin(client, 10)["Location"]
    patch(client, address, 0, b"01234")
    reply = patch(client, address, 3, b"xx")
    assert (reply.status_code, reply.json()["error"]["params"]["offset"]) == (409, 5)
    assert client.head(address, headers=TUS)["Upload-Offset"] == "5"


def test_more_bytes_than_announced_are_refused_whole(client: APIClient) -> None:
    address = begin(client, 5)["Location"]
    assert patch(client, address, 0, b"012345").status_code == 413
    with pytest.raises(UserError, match="upload_too_large"):
        # In chunks, without a Content-Length.
        uploads.append(upload=Upload.objects.get(), offset=0, stream=io.BytesIO(b"012345"))
    assert client.head(address, headers=TUS)["Upload-Offset"] == "0"
    assert patch(client, address, 0, b"01234")["Upload-Offset"] == "5"


def test_bytes_left_by_a_crash_are_overwritten(client: APIClient, own_home: Path) -> None:
    address = begin(client, 6)["Location"]
    patch(client, address, 0, b"abc")
    part = own_home / "uploads" / Upload.objects.get().pk
    part.write_bytes(b"abcGARBAGE")
    patch(client, address, 3, b"def")
    assert storage().read_bytes(Upload.objects.get().key) == b"abcdef"


def test_a_broken_connection_keeps_what_came(client: APIClient, cast: Cast) -> None:
    class Breaking:
        pieces = iter([b"abc"])

        def read(self, size: int) -> bytes:
            for piece in self.pieces:
                return piece
            raise ConnectionResetError

    address = begin(client, 6)["Location"]
    with pytest.raises(Exception, match="storage_unavailable"):
        uploads.append(upload=Upload.objects.get(), offset=0, stream=Breaking())  # type: ignore[arg-type]
    assert client.head(address, headers=TUS)["Upload-Offset"] == "3"


def test_two_requests_cannot_add_at_once(client: APIClient, own_home: Path) -> None:
    address = begin(client, 6)["Location"]
    with open(own_home / "uploads" / Upload.objects.get().pk, "r+b") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        assert patch(client, address, 0, b"abc").status_code == 423
    assert patch(client, address, 0, b"abc").status_code == 204


def test_a_cancelled_upload_is_gone(client: APIClient, own_home: Path) -> None:
    address = begin(client, 6)["Location"]
    assert client.delete(address, headers=TUS).status_code == 204
    assert client.head(address, headers=TUS).status_code == 404
    assert list((own_home / "uploads").iterdir()) == []


def test_an_expired_upload_takes_no_more_and_is_swept(client: APIClient, own_home: Path) -> None:
    address = begin(client, 6)["Location"]
    Upload.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert patch(client, address, 0, b"abc").status_code == 410
    assert client.head(address, headers=TUS).status_code == 410
    assert uploads.forget_expired() == 1
    assert not Upload.objects.exists()
    assert list((own_home / "uploads").iterdir()) == []


def test_a_whole_upload_outlives_the_time_of_an_unfinished_one(client: APIClient) -> None:
    address = begin(client, 2)["Location"]
    assert "Upload-Expires" not in patch(client, address, 0, b"ab"), "it is whole"
    Upload.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert uploads.forget_expired() == 0
    assert client.head(address, headers=TUS)["Upload-Offset"] == "2"
    Upload.objects.update(finished=timezone.now() - uploads.UNUSED_AFTER)
    assert uploads.forget_expired() == 1


@pytest.mark.parametrize("algorithm", uploads.DIGESTS)
def test_a_piece_is_taken_by_its_checksum_or_not_at_all(client: APIClient, algorithm: str) -> None:
    def checksum(data: bytes) -> str:
        return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"

    address = begin(client, 6)["Location"]
    assert patch(client, address, 0, b"abc", **{"Upload-Checksum": checksum(b"abc")})["Upload-Offset"] == "3"
    reply = patch(client, address, 3, b"dXf", **{"Upload-Checksum": checksum(b"def")})
    assert (reply.status_code, reply.reason_phrase) == (460, "Checksum Mismatch")
    assert reply.json()["error"]["code"] == "upload_checksum_mismatch"
    assert client.head(address, headers=TUS)["Upload-Offset"] == "3"
    patch(client, address, 3, b"def", **{"Upload-Checksum": checksum(b"def")})
    assert storage().read_bytes(Upload.objects.get().key) == b"abcdef"


@pytest.mark.parametrize(
    "header", ["crc32 AAAA", "sha1", "sha1 !!", "sha1 AAAA", "SHA1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=", ""]
)
def test_a_checksum_that_cannot_be_checked_is_refused(client: APIClient, header: str) -> None:
    address = begin(client, 6)["Location"]
    assert patch(client, address, 0, b"abc", **{"Upload-Checksum": header}).status_code == 400
    assert client.head(address, headers=TUS)["Upload-Offset"] == "0"


def test_a_team_uploads_no_more_than_it_may_keep(client: APIClient, cast: Cast, settings: Settings) -> None:
    settings.SLIPWAY_TEAM_BYTES = 100
    assert begin(client, 60).status_code == 201
    reply = begin(client, 41)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "storage_full")
    assert begin(client, 40).status_code == 201


def test_an_upload_that_a_dataset_was_made_of_stays(client: APIClient, cast: Cast) -> None:
    address = begin(client, 2)["Location"]
    patch(client, address, 0, b"ab")
    DatasetVersion.objects.filter(pk=cast.ours.version.pk).update(source_key=Upload.objects.get().key)
    Upload.objects.update(expires=timezone.now() - timedelta(days=9))
    assert uploads.forget_expired() == 0
    assert client.delete(address, headers=TUS).status_code == 409


@pytest.mark.parametrize("headers", [{}, {"Tus-Resumable": "0.2.2"}])
def test_another_version_of_the_protocol_is_refused(client: APIClient, headers: dict[str, str]) -> None:
    reply = client.generic("POST", "/api/v1/uploads", b"", headers={"Upload-Length": "1", **headers})
    assert (reply.status_code, reply["Tus-Version"]) == (412, "1.0.0")


def test_the_server_says_what_it_can(client: APIClient) -> None:
    reply = client.options("/api/v1/uploads")
    assert reply.status_code == 204
    said = set(reply["Tus-Extension"].split(","))
    assert said == {"creation", "creation-with-upload", "termination", "checksum", "expiration"}
    assert reply["Tus-Checksum-Algorithm"] == "sha1,sha256,md5"
    assert int(reply["Tus-Max-Size"]) == 5 * 2**30


def test_pieces_have_their_own_content_type(client: APIClient) -> None:
    address = begin(client, 5)["Location"]
    headers = {**TUS, "Upload-Offset": "0"}
    assert client.generic("PATCH", address, b"ab", content_type="text/csv", headers=headers).status_code == 415


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "", "0x10", "9" * 30])
def test_a_length_is_a_plain_number(client: APIClient, length: str) -> None:
    headers = {**TUS, "Upload-Length": length}
    assert client.generic("POST", "/api/v1/uploads", b"", headers=headers).status_code == 400


def test_a_file_over_the_limit_is_refused_before_a_byte_is_sent(client: APIClient, own_home: Path) -> None:
    reply = begin(client, 5 * 2**30 + 1)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "upload_too_large")
    assert not Upload.objects.exists()


def test_a_user_has_a_bounded_number_of_unfinished_uploads(client: APIClient) -> None:
    for _ in range(uploads.OPEN_UPLOADS_PER_USER):
        assert begin(client, 5).status_code == 201
    assert begin(client, 5).status_code == 409


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\a.csv", "a.csv"),
        ("a\0b.csv", "ab.csv"),
        ("x\r\nSet-Cookie: a=b", "xSet-Cookie: a=b"),
        ("\u202egnp.exe", "gnp.exe"),
        ("", "upload"),
        ("n" * 4000, None),
    ],
)
def test_a_file_name_is_only_shown(client: APIClient, own_home: Path, sent: str, shown: str | None) -> None:
    reply = begin(client, 1, filename=sent)
    if reply.status_code == 400:
        assert shown is None  # longer than headers may be
        return
    assert Upload.objects.get().filename == shown
    assert [path.name for path in (own_home / "uploads").iterdir()] == [Upload.objects.get().pk]


def test_others_do_not_find_it(client: APIClient, cast: Cast, api_of: ApiOf) -> None:
    address = begin(client, 6)["Location"]
    for user in (cast.alice, cast.charlie):
        other = api_of(user)
        replies = [
            other.head(address, headers=TUS),
            patch(other, address, 0, b"abc"),
            other.delete(address, headers=TUS),
        ]
        assert [reply.status_code for reply in replies] == [404, 404, 404]
    assert client.head(address, headers=TUS)["Upload-Offset"] == "0"


def test_it_belongs_to_the_team_of_the_project_named(client: APIClient, cast: Cast) -> None:
    assert begin(client, 6, project=cast.theirs.project.pk).status_code == 404
    assert begin(client, 6, team=cast.theirs.team.pk).status_code == 404
    assert begin(client, 6, project=cast.ours.project.pk).status_code == 201


def test_a_viewer_uploads_nothing(cast: Cast, api_of: ApiOf) -> None:
    assert begin(api_of(cast.victor), 6, team=cast.ours.team.pk).status_code == 403


def test_a_browser_uploads_with_its_session_and_csrf_token(cast: Cast, browser_of: Callable[..., Client]) -> None:
    browser = browser_of(cast.bob, csrf=True)
    headers = {**TUS, "Upload-Length": "3"}
    refused = browser.generic("POST", "/api/v1/uploads", b"", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf_failed")
    browser.get("/accounts/reauthenticate/")  # any page with a form
    token = next(morsel.value for name, morsel in browser.cookies.items() if "csrf" in name)
    headers["X-CSRFToken"] = token
    address = browser.generic("POST", "/api/v1/uploads", b"", headers=headers)["Location"]
    piece = {**TUS, "Upload-Offset": "0", "X-CSRFToken": token}
    assert browser.generic("PATCH", address, b"abc", content_type=OCTETS, headers=piece).status_code == 204
