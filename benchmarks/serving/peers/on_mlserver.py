"""The text model on MLServer: `python on_mlserver.py PORT GRPC_PORT METRICS_PORT`, with BUNDLE naming the folder."""

import asyncio
import os
import sys

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from workers.inference import runtime

BATCH = int(os.environ["BATCH"])


class Text(MLModel):
    async def load(self) -> bool:
        self.predictor = runtime.load(os.environ["BUNDLE"], threads=1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        found = self.predictor.predict(self.predictor.parse(texts))
        shape = [len(found), 1]
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("label", [one["label"] for one in found]),
                ResponseOutput(name="score", shape=shape, datatype="FP32", data=[one["score"] for one in found]),
            ],
        )


async def main() -> None:
    http, grpc, metrics = map(int, sys.argv[1:])
    settings = Settings(
        host="127.0.0.1",
        http_port=http,
        grpc_port=grpc,
        metrics_port=metrics,
        parallel_workers=0,
        debug=False,
        use_structured_logging=False,
    )
    # It never waits for company, as far as MLServer allows.
    batching = {"max_batch_size": BATCH, "max_batch_time": 0.0005} if BATCH > 1 else {}
    await MLServer(settings).start([ModelSettings(name="text", implementation=Text, **batching)])


if __name__ == "__main__":
    asyncio.run(main())
