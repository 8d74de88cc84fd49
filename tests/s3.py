"""An S3 server on loopback (moto), with one empty bucket for each test that asks."""

import socket
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A running server; gives its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket that is reached by what the environment now says; gives `s3://bucket/prefix`."""
    _environ(monkeypatch, s3_server)
    resource = boto3.resource("s3")
    bucket = resource.create_bucket(Bucket="bucket")
    yield "s3://bucket/some/prefix"
    bucket.objects.all().delete()
    bucket.delete()


@pytest.fixture
def s3_away(monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of a server that is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        _environ(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return "s3://bucket/prefix"


def _environ(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
