"""The text model on LitServe: `python on_litserve.py PORT`, with BUNDLE naming the bundle's folder."""

import os
import sys
from typing import Any

import litserve

from workers.inference import runtime

BATCH = int(os.environ["BATCH"])


class Text(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.predictor = runtime.load(os.environ["BUNDLE"], threads=1)

    def decode_request(self, request: dict[str, Any]) -> Any:
        (item,) = self.predictor.parse(request)
        return item

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, inputs: Any) -> Any:
        return self.predictor.predict(inputs) if BATCH > 1 else self.predictor.predict([inputs])[0]

    def unbatch(self, output: Any) -> Any:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return {"predictions": [output]}


if __name__ == "__main__":
    # It never waits for company, as far as LitServe allows: what is queued goes together.
    api = Text(max_batch_size=BATCH, batch_timeout=0.0005 if BATCH > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="error"
    )
