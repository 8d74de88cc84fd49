"""Several devices: one process each, started by torchrun, which share every batch and add up their gradients.

Rank 0 speaks, judges, saves, evaluates and exports; the others only compute. Decisions that must not differ (to stop,
to go back) are taken from sums over all ranks.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


class World:
    """This process among those that train together: alone, unless torchrun started it."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))

    def join(self, device: "torch.device") -> None:
        """Meet the other processes, once: over NCCL between GPUs, over gloo between CPUs."""
        import torch
        import torch.distributed

        if self.size == 1 or torch.distributed.is_initialized():
            return
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        if device.type == "cpu":
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // self.size))

    def leave(self) -> None:
        """Part from the others."""
        import torch.distributed

        if self.size > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def prepare(self, model: "nn.Module", device: "torch.device") -> "nn.Module":
        """Batch normalisation over the whole batch where the device can (CUDA).

        On CPUs each process normalises by its own share of the batch, as parts of a batch are on one device, and the
        running statistics are rank 0's.
        """
        from torch import nn

        if self.size == 1 or device.type != "cuda":
            return model
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted

    def wrap(self, model: "nn.Module", device: "torch.device") -> "nn.Module":
        """The model as it is called in training: gradients are averaged over the processes as they come."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        ids = [device.index] if device.type == "cuda" else None
        # An encoder may have layers that its task does not use.
        return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=True)

    def quiet(self, network: object) -> AbstractContextManager[None]:
        """While gradients are only added up: nothing is sent."""
        hold = getattr(network, "no_sync", None)
        return hold() if self.size > 1 and hold else nullcontext()

    def sum(self, values: "torch.Tensor") -> "torch.Tensor":
        """The sum over all processes, in each of them."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.all_reduce(values)
        return values

    def agree(self, values: list[float]) -> list[float]:
        """Rank 0's values, in each process. Waits for all."""
        if self.size == 1:
            return values
        import torch
        import torch.distributed

        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        said = torch.tensor(values, dtype=torch.float64, device=device)
        torch.distributed.broadcast(said, 0)
        found: list[float] = said.tolist()
        return found
