"""The text model on BentoML: `bentoml serve on_bentoml:Text`, with BUNDLE naming the bundle's folder."""

import os
from typing import Any

import bentoml

from workers.inference import runtime


@bentoml.service(workers=1, traffic={"timeout": 60})
class Text:
    def __init__(self) -> None:
        self.predictor = runtime.load(os.environ["BUNDLE"], threads=1)

    if int(os.environ["BATCH"]) > 1:

        @bentoml.api(batchable=True, max_batch_size=int(os.environ["BATCH"]), max_latency_ms=60_000)
        async def predict(self, texts: list[str]) -> list[dict[str, Any]]:
            return self.predictor.predict(self.predictor.parse(texts))

    else:

        @bentoml.api
        async def predict(self, texts: list[str]) -> list[dict[str, Any]]:  # type: ignore[no-redef]
            return self.predictor.predict(self.predictor.parse(texts))
