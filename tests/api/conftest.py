"""The web process as it is deployed: the ASGI application on uvicorn."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from pytest_django.fixtures import Settings

from slipway import env, web


@pytest.fixture
def web_server(transactional_db: None, settings: Settings, tmp_path: Path) -> Iterator[str]:
    """Address of a running web process on the test's database."""
    from slipway.asgi import application

    settings.SLIPWAY_HOME = tmp_path
    settings.SLIPWAY_STORAGE = str(tmp_path / "storage")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(application, log_level="warning", **web.options(env.read()))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()
