"""Ends the process right before a given step of what it does with one file: for processes that have this folder on
their PYTHONPATH, and SLIPWAY_TEST_KILL naming a JSON file {"file": part of a path, "step": number}.

A step is anything that Python tells its auditors of a path: opening, renaming, making or removing. They are counted
from the first that touches the file on, in its folder and below.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

_wanted = json.loads(Path(os.environ["SLIPWAY_TEST_KILL"]).read_text())
_process = os.getpid()  # what it forks is another matter
_folder = ""
_count = 0


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    global _folder, _count
    path = next((one for one in arguments if isinstance(one, str) and "/" in one), "")
    if not path or os.getpid() != _process or not event.startswith(("open", "os.", "shutil.", "tempfile.")):
        return
    if not _folder and _wanted["file"] in path:
        _folder = path.rpartition("/")[0]
    if _folder and path.startswith(_folder):
        _count += 1
        if _count == _wanted["step"]:
            os.kill(_process, signal.SIGKILL)


sys.addaudithook(_audit)
