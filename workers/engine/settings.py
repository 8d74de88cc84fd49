"""The training loop's settings: the options of NetworkParams with nothing left open."""

from typing import Any, Self

import torch

from workers.task_templates.network import NetworkParams

# Compiling takes about a minute.
_STEPS_WORTH_COMPILING = 5_000


class Settings(NetworkParams):
    """How to train. `learning_rate` is the peak of the schedule."""

    epochs: int
    batch_size: int

    @classmethod
    def of(cls, params: NetworkParams, *, epochs: int, batch_size: int, **changed: Any) -> Self:
        """The options that a user and a preset chose, with what the data decided."""
        given = {name: getattr(params, name) for name in NetworkParams.model_fields}
        return cls(**{**given, "epochs": epochs, "batch_size": batch_size, **changed})

    def dtype(self, device: torch.device) -> torch.dtype:
        """What autocast computes in; float32 means without it."""
        match self.precision:
            case "fp32":
                return torch.float32
            case "bf16":
                return torch.bfloat16
            case "fp16":
                return torch.float16
        if device.type != "cuda":
            return torch.float32
        # bfloat16 has the range of float32; float16 needs its losses scaled.
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16

    def compiles(self, device: torch.device, steps: int) -> bool:
        """Whether to compile the network for so many steps."""
        if self.compile != "auto":
            return self.compile == "on"
        return device.type == "cuda" and steps >= _STEPS_WORTH_COMPILING and not self.deterministic
