"""A foreign client of the tus protocol sends a file to the deployed web process, which is killed meanwhile."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django.fixtures import Settings
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed
from tusclient.uploader import Uploader

from apps.core.artifacts import storage
from apps.datasets.models import Upload
from slipway.env import ROOT
from tests.cast import Cast, make_token
from tests.stack import free_ports

DATA = bytes(range(256)) * 40_000  # 10 MB


def tus(address: str, token: str) -> TusClient:
    return TusClient(f"{address}/api/v1/uploads", headers={"Authorization": f"Bearer {token}"})


def test_tuspy_uploads_a_file_in_chunks_and_resumes(web_server: str, cast: Cast, tmp_path: Path) -> None:
    client = tus(web_server, make_token(cast.bob))
    first = client.uploader(
        file_stream=io.BytesIO(DATA), chunk_size=3_000_000, metadata={"filename": "ten megabytes.bin"}
    )
    first.upload_chunk()
    assert Upload.objects.get().offset == 3_000_000
    # Another process, days later: it knows the address and asks how far the upload is.
    second = client.uploader(file_stream=io.BytesIO(DATA), chunk_size=4_000_000, url=first.url)
    assert second.offset == 3_000_000
    second.upload()
    upload = Upload.objects.get()
    assert upload.finished and upload.filename == "ten megabytes.bin"
    assert storage().read_bytes(upload.key) == DATA
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_wrong_offset_and_a_wrong_checksum_are_refused(web_server: str, cast: Cast) -> None:
    client = tus(web_server, make_token(cast.bob))
    uploader = client.uploader(file_stream=io.BytesIO(DATA), chunk_size=3_000_000, upload_checksum=True)
    uploader.upload_chunk()
    uploader.offset = 1_000_000
    assert refused(uploader) == 409
    uploader.offset = uploader.get_offset()
    assert uploader.offset == 3_000_000

    lying = Lying(
        client=client, file_stream=io.BytesIO(DATA), chunk_size=3_000_000, url=uploader.url, upload_checksum=True
    )
    assert refused(lying) == 460
    assert lying.get_offset() == 3_000_000, "the bytes are not kept"

    again = client.uploader(file_stream=io.BytesIO(DATA), chunk_size=3_000_000, url=uploader.url, upload_checksum=True)
    again.upload()
    assert storage().read_bytes(Upload.objects.get().key) == DATA


class Lying(Uploader):  # type: ignore[misc]
    """What it says of a piece is the checksum of other bytes, as if some had changed on their way."""

    @property
    def checksum_algorithm(self) -> Any:
        return lambda data: hashlib.sha1(data[::-1], usedforsecurity=False)


def refused(uploader: Uploader) -> int:
    with pytest.raises((TusCommunicationError, TusUploadFailed)) as caught:
        uploader.upload_chunk()
    return int(caught.value.status_code)


class Server:
    """The web process by itself, on the test's database: it can be killed and started again at its address."""

    def __init__(self, home: Path) -> None:
        (self.port,) = free_ports(1)
        self.address = f"http://127.0.0.1:{self.port}"
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        database = connection.settings_dict
        base, _, _ = os.environ["DATABASE_URL"].rpartition("/")
        environ = {**os.environ, "SLIPWAY_HOME": str(self._home), "SLIPWAY_PORT": str(self.port)}
        environ |= {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "DATABASE_URL": f"{base}/{database['NAME']}"}
        command = [sys.executable, "-m", "uvicorn", "slipway.asgi:application", f"--port={self.port}", "--lifespan=off"]
        self._process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.address}/healthz", timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                assert time.monotonic() < end and self._process.poll() is None, "the server does not come up"
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


@pytest.fixture
def server(transactional_db: None, settings: Settings, tmp_path: Path) -> Iterator[Server]:
    settings.SLIPWAY_HOME = tmp_path
    settings.SLIPWAY_STORAGE = str(tmp_path / "storage")
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def test_an_upload_goes_on_after_its_server_was_killed(server: Server, cast: Cast) -> None:
    token = make_token(cast.bob)
    uploader = tus(server.address, token).uploader(file_stream=io.BytesIO(DATA), chunk_size=200_000)
    sent: list[Any] = []

    def send() -> None:
        try:
            uploader.upload()
        except Exception as error:
            sent.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    while not (begun := Upload.objects.filter(offset__gte=2_000_000).first()):
        assert thread.is_alive()
    server.kill()
    thread.join()
    assert sent and not begun.finished, "it was killed in the middle"

    server.start()
    again = tus(server.address, token).uploader(file_stream=io.BytesIO(DATA), chunk_size=1_000_000, url=uploader.url)
    assert 2_000_000 <= again.offset < len(DATA)
    again.upload()
    assert storage().read_bytes(Upload.objects.get().key) == DATA
