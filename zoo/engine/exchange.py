"""How processes exchange gradients: communication hooks of DistributedDataParallel that count the bytes they send.

Bytes are what a process hands over, however often the network passes them on.
"""
# Annotations are evaluated in this file, as DistributedDataParallel compares those of a hook with its own types.

from torch import Tensor, distributed
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.futures import Future

SHORTEST_START = 2  # steps before PowerSGD begins, in which DistributedDataParallel finds its order of the gradients

ParameterState = dict[int, dict[str, Tensor]]
"""Tensors by name, for each parameter by its number in the optimiser."""


class Exchange:
    """The mean of the gradients over all processes; they are sent whole.

    Attributes:
        bytes_sent: since it was set to zero.
        clips: whether gradients are clipped before they are sent, and not after.
        bucket_mb: how much is sent at once, in MiB; None for what is usual.
    """

    clips = False
    bucket_mb: int | None = None

    def __init__(self) -> None:
        self.bytes_sent = 0

    def send(self, bucket: distributed.GradBucket) -> Future[Tensor]:
        """The hook: from gradients of this process to the mean."""
        self.bytes_sent += bucket.buffer().nbytes
        return default_hooks.allreduce_hook(distributed.distributed_c10d._get_default_group(), bucket)

    def state(self) -> ParameterState:
        """What going on needs; all processes have to ask for it together."""
        return {}

    def restore(self, state: ParameterState) -> None:
        """The reverse of ``state``."""


class PowerSGD(Exchange):
    """Gradients as products of two narrow matrices (Vogels et al. 2019, https://arxiv.org/abs/1905.13727), by torch.

    What the products miss is added to the gradients of the next step. It is in no checkpoint: a run that goes on sends
    two steps whole and approximates anew.

    Args:
        rank: columns of the matrices.
        whole_steps: at the beginning, that are not compressed.
    """

    def __init__(self, rank: int, whole_steps: int):
        super().__init__()
        self.power = powerSGD_hook.PowerSGDState(None, rank, max(SHORTEST_START, whole_steps))

    def send(self, bucket: distributed.GradBucket) -> Future[Tensor]:
        """The hook: from gradients of this process to an approximation of the mean."""
        power, buffer = self.power, bucket.buffer()
        whole, before = power.iter < power.start_powerSGD_iter, power.total_numel_after_compression
        future = powerSGD_hook.powerSGD_hook(power, bucket)
        elements = buffer.numel() if whole else power.total_numel_after_compression - before
        self.bytes_sent += elements * buffer.element_size()
        return future
