"""The text model on PyTriton: `python on_pytriton.py PORT GRPC_PORT METRICS_PORT`, with BUNDLE naming the folder."""

import os
import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from workers.inference import runtime

predictor = runtime.load(os.environ["BUNDLE"], threads=1)


@batch
def infer(text: np.ndarray) -> dict[str, np.ndarray]:
    found = predictor.predict(predictor.parse([row[0].decode() for row in text]))
    return {
        "label": np.array([[one["label"].encode()] for one in found], dtype=np.bytes_),
        "score": np.array([[one["score"]] for one in found], dtype=np.float32),
    }


if __name__ == "__main__":
    http, grpc, metrics = map(int, sys.argv[1:])
    config = TritonConfig(http_address="127.0.0.1", http_port=http, grpc_port=grpc, metrics_port=metrics, log_verbose=0)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="text",
            infer_func=infer,
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="label", dtype=bytes, shape=(1,)), Tensor(name="score", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=int(os.environ["BATCH"]), batcher=DynamicBatcher()),
            strict=False,
        )
        triton.serve()
