"""What Slipway's serving is measured against: a bare ASGI app that batches what waits at each turn of the loop.

No keys, no limits, no metering, no checks: only JSON in, the same predictor, JSON out.

    python benchmarks/serving/bare.py BUNDLE_FOLDER PORT
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from workers.inference import runtime

MAX_BATCH = 64


class Bare:
    def __init__(self, folder: Path) -> None:
        self.predictor = runtime.load(folder, threads=1)
        self.waiting: list[tuple[Any, asyncio.Future[Any]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        (item,) = self.predictor.parse(orjson.loads(body))
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self.waiting:
            loop.call_soon(self.run)
        self.waiting.append((item, future))
        reply = orjson.dumps({"predictions": [await future]})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    def run(self) -> None:
        batch, self.waiting = self.waiting[:MAX_BATCH], self.waiting[MAX_BATCH:]
        if self.waiting:
            asyncio.get_running_loop().call_soon(self.run)
        predictions = self.predictor.predict([item for item, _ in batch])
        for (_, future), prediction in zip(batch, predictions, strict=True):
            future.set_result(prediction)


if __name__ == "__main__":
    uvicorn.run(
        Bare(Path(sys.argv[1])),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        server_header=False,
        date_header=False,
        log_level="warning",
    )
