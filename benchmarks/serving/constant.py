"""A constant reply to whatever comes: the ceiling of the load generator.

python benchmarks/serving/constant.py PORT
"""

import asyncio
import sys
from typing import Any

import uvloop

BODY = b'{"model":{"id":"mdl_aaaaaaaaaaaaaaaaaaaaaaaa","number":1},"predictions":[{"label":"positive","score":0.5}]}'
REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


class Constant(asyncio.Protocol):
    """Reads no HTTP: a request is over where its JSON is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):
            self.transport.write(REPLY)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Constant, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
