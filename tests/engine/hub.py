"""A hub of models on a free port: as much of Hugging Face's protocol as its client needs to fetch one folder."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REVISION = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def hub(repository: str, folder: Path) -> Iterator[str]:
    """Serve `folder` as `repository`; the hub's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            if path.startswith(f"/api/models/{repository}/tree/"):
                tree = [
                    {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40}
                    for p in sorted(folder.iterdir())
                ]
                self._send(json.dumps(tree).encode(), body)
            elif path.startswith(f"/api/models/{repository}"):
                files = [{"rfilename": p.name, "size": p.stat().st_size} for p in sorted(folder.iterdir())]
                self._send(json.dumps({"id": repository, "sha": REVISION, "siblings": files}).encode(), body)
            elif path.startswith(f"/{repository}/resolve/") and (folder / Path(path).name).is_file():
                self._send((folder / Path(path).name).read_bytes(), body)
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _send(self, content: bytes, body: bool) -> None:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
