"""A far end on loopback that answers as it is told: 127.0.0.2 stands for the internet, 127.0.0.3 for what is inside."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from workers.fetch.policy import Policy, of_environment

OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.3"
# One connection: what was asked, and where to answer.
Answer = Callable[[bytes, socket.socket], None]


def policy() -> Policy:
    return of_environment({"SLIPWAY_IMPORT_NETWORKS": f"{OUTSIDE}/32"})


class FarEnd:
    """A listener; `asked` holds the head of each request that came, `port` where it listens."""

    def __init__(self, host: str, answer: Answer) -> None:
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        self.asked: list[bytes] = []
        self._answer = answer
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (piece := connection.recv(65536)):
                head += piece
                if not head.startswith(b"GET "):
                    break
            self.asked.append(head)
            self._answer(head, connection)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextlib.contextmanager
def far_end(answer: Answer, host: str = OUTSIDE) -> Iterator[FarEnd]:
    """A far end for the length of the block."""
    end = FarEnd(host, answer)
    try:
        yield end
    finally:
        end.close()


def ok(body: bytes, *headers: str) -> Answer:
    """A plain good answer."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return lambda head, connection: connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def unsized(body: bytes) -> Answer:
    """A good answer that does not say how long it is, to whoever does not hang up."""

    def answer(head: bytes, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body)

    return answer


def redirect(location: str, status: int = 302) -> Answer:
    """An answer that leads elsewhere."""
    text = f"HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    return lambda head, connection: connection.sendall(text.encode())
