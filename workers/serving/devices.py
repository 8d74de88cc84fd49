"""Where models can run beside the processor: on an NVIDIA GPU that this process may use."""

import os
from functools import cache
from pathlib import Path

import onnxruntime

from workers.inference.core import CPU

_CUDA = "CUDAExecutionProvider"


@cache
def gpu() -> tuple[str, ...]:
    """onnxruntime's providers for the GPU; none where there is no GPU, or no onnxruntime for it.

    A bundle's predictions go by way of main memory: its tensors are small, and what is asked comes from there.
    """
    # The GPU build of onnxruntime offers CUDA on every machine.
    if _CUDA not in onnxruntime.get_available_providers() or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return ()
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return ()
    onnxruntime.preload_dlls()  # CUDA's libraries, where they were installed by pip
    return (_CUDA, *CPU)
