"""Other servers of models: pinned, each in an environment of its own, with the same text model.

Each has a list of exact versions (NAME.txt) and a script (on_NAME.py). They run the same predictor as Slipway, in one
worker on one core, batched and not, since some are faster without.
"""

import contextlib
import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.serving.models import TEXT
from benchmarks.serving.servers import ROOT, Server, json_of, started

HERE = Path(__file__).resolve().parent
# Where their environments are made: some GB, kept for the next time.
ENVIRONMENTS = ROOT / "var" / "peers"

_V2 = json.dumps({"inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [TEXT]}]}).encode()
_PORTS = ["{port}", "{spare1}", "{spare2}"]


class Peer(NamedTuple):
    """A command in its environment, the path and body of a request, the batch sizes to try."""

    command: list[str]
    path: str
    body: bytes
    batches: tuple[int, ...]


PEERS: dict[str, Peer] = {
    "bentoml": Peer(
        ["{bin}/bentoml", "serve", "on_bentoml:Text", "--host=127.0.0.1", "--port={port}", f"--working-dir={HERE}"],
        "/predict",
        json.dumps({"texts": [TEXT]}).encode(),
        (1, 64),
    ),
    "litserve": Peer(["{bin}/python", f"{HERE}/on_litserve.py", "{port}"], "/predict", json_of(TEXT), (1, 64)),
    "mlserver": Peer(["{bin}/python", f"{HERE}/on_mlserver.py", *_PORTS], "/v2/models/text/infer", _V2, (1, 64)),
    "pytriton": Peer(["{bin}/python", f"{HERE}/on_pytriton.py", *_PORTS], "/v2/models/text/infer", _V2, (64,)),
}


def install(name: str) -> Path:
    """The peer's environment; made at the first time."""
    folder, wanted = ENVIRONMENTS / name, (HERE / f"{name}.txt").read_text("utf-8")
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        print(f"Installing {name} into {folder}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [folder / "bin/pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / f"{name}.txt"], check=True)
        stamp.write_text(wanted, "utf-8")
    return folder


@contextlib.contextmanager
def peer(name: str, batch: int, bundle: Path) -> Iterator[Server]:
    """A running peer. Raises subprocess.CalledProcessError where it cannot be installed."""
    command, path, body, _ = PEERS[name]
    binaries = install(name) / "bin"
    filled = [part.replace("{bin}", str(binaries)) for part in command]
    variables = {"BUNDLE": str(bundle), "BATCH": str(batch), "BENTOML_DO_NOT_TRACK": "True"}
    # PyTriton's backend looks for a libpython: it has to be the one of this Python.
    variables["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR") or ""
    with started(f"{name} (batch {batch})", filled, path, body, **variables) as server:
        yield server
