"""Hosted prediction against a bare ASGI app with the same model and the same batching, side by side.

    python benchmarks/serving/run.py [--seconds 4] [--rounds 3]

Slipway runs with everything on: API key, limits, metering into a real Redis, access log. The two servers take turns, so
that whatever else the machine does meets both. Prints requests per second at 1, 16 and 64 connections, and their ratio;
the CPU time of the server per request (user and system, which a busy machine disturbs less), and what that would be as
a ratio of rates.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import redis
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from slipway import embedded  # noqa: E402
from tests.serving import bundles  # noqa: E402
from tests.serving.running import Control, serving, until  # noqa: E402
from tests.stack import free_ports  # noqa: E402

CONNECTIONS = (1, 16, 64)
TEXT = "a quiet little film that grows on you and stays long after the lights have come up again"
VOCABULARY, WIDTH = 8000, 64


def make_bundle(path: Path) -> Path:
    """BPE tokenizer, embedding bag, linear layer: the text model of the baselines."""
    rng = np.random.default_rng(0)
    syllables = ["ba", "do", "fi", "gu", "ka", "lo", "mi", "nu", "pe", "ra", "si", "to", "ve", "wo", "xi", "za"]
    corpus = [" ".join("".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(20)) for _ in range(2000)]
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    tokenizer.train_from_iterator([*corpus, *[TEXT] * 50], trainer)
    nodes = [
        helper.make_node("Gather", ["embedding", "token_ids"], ["words"], axis=0),
        helper.make_node("ReduceMean", ["words", "axis"], ["text"], keepdims=0),
        helper.make_node("MatMul", ["text", "linear"], ["sums"]),
        helper.make_node("Softmax", ["sums"], ["scores"], axis=-1),
    ]
    weights = {
        "embedding": rng.normal(size=(VOCABULARY, WIDTH)).astype(np.float32),
        "linear": rng.normal(size=(WIDTH, 2)).astype(np.float32),
        "axis": np.array([1], dtype=np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info("token_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bundles.text_bundle(path, model=model, tokenizer=tokenizer)


@contextlib.contextmanager
def bare_server(folder: Path) -> Iterator[tuple[int, int]]:
    """The bare app; gives its port and its process."""
    (port,) = free_ports(1)
    environ = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "benchmarks/serving/bare.py"), str(folder), str(port)], env=environ
    )
    try:
        until(lambda: _reachable(port))
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(20)


def _reachable(port: int) -> bool:
    try:
        return httpx.post(f"http://127.0.0.1:{port}/", json={"inputs": [TEXT]}, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def request_of(port: int, path: str, key: str = "") -> bytes:
    """The bytes of one predict request."""
    body = json.dumps({"inputs": [TEXT]}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {key}\r\n" if key else ""
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def load(port: int, pid: int, request: bytes, connections: int, seconds: float) -> dict[str, Any]:
    """One measurement; `cpu_us` is the server's time per request."""
    before = sum(psutil.Process(pid).cpu_times()[:2])
    command = [sys.executable, str(ROOT / "benchmarks/serving/load.py"), "127.0.0.1", str(port)]
    done = subprocess.run([*command, str(connections), str(seconds)], input=request, capture_output=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    if result["errors"]:
        raise SystemExit(f"{result['errors']} answers were not 200: {result['first_error']}")
    used = sum(psutil.Process(pid).cpu_times()[:2]) - before
    return result | {"cpu_us": used * 1e6 / (result["per_second"] * seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-bench-")))
        bundle = make_bundle(home / "bundle.zip")
        with zipfile.ZipFile(bundle) as packed:
            packed.extractall(home / "bundle")
        (server,) = embedded.prepare(home, postgres=False)
        redis_url = stack.enter_context(embedded.running(server, home / "redis.log"))
        client = stack.enter_context(contextlib.closing(redis.Redis.from_url(redis_url)))
        control = Control(client, str(home / "storage"))
        control.add_route("bench", bundle)
        key = control.add_key()
        control.publish()
        ours = stack.enter_context(serving(home, redis_url))
        bare, bare_pid = stack.enter_context(bare_server(home / "bundle"))
        servers = {
            "bare": (bare, bare_pid, request_of(bare, "/")),
            "slipway": (ours.port, ours.process.pid, request_of(ours.port, "/v1/endpoints/bench/predict", key)),
        }
        print(
            f"{'connections':>11} {'bare/s':>8} {'slipway/s':>10} {'ratio':>6} {'p99 bare':>9} {'p99 slipway':>12}"
            f" {'CPU us bare':>12} {'slipway':>8} {'ratio':>6}"
        )
        for connections in CONNECTIONS:
            rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
            for _ in range(options.rounds):
                for name, (port, pid, request) in servers.items():
                    rounds[name].append(load(port, pid, request, connections, options.seconds))
                client.xtrim("slipway:usage", maxlen=0)
            rate = {name: statistics.median(r["per_second"] for r in found) for name, found in rounds.items()}
            p99 = {name: statistics.median(r["p99_ms"] for r in found) for name, found in rounds.items()}
            cpu = {name: statistics.median(r["cpu_us"] for r in found) for name, found in rounds.items()}
            print(
                f"{connections:>11} {rate['bare']:>8.0f} {rate['slipway']:>10.0f}"
                f" {rate['slipway'] / rate['bare']:>6.2f} {p99['bare']:>9.1f} {p99['slipway']:>12.1f}"
                f" {cpu['bare']:>12.1f} {cpu['slipway']:>8.1f} {cpu['bare'] / cpu['slipway']:>6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
