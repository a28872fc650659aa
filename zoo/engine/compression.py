"""Deep Gradient Compression, by Lin et al. 2018, https://arxiv.org/abs/1712.01887: few gradients are sent at once."""
# Annotations are evaluated in this file, as DistributedDataParallel compares those of a hook with its own types.

import math
from typing import Any

import torch
from torch import Tensor, distributed
from torch.futures import Future

from zoo.engine.config import TrainConfig
from zoo.engine.exchange import Exchange, ParameterState, PowerSGD
from zoo.errors import InputError

STAGES = 4  # of the warm-up, in each of which a quarter is sent of what was sent in the one before (section 3.3)
MIB = 2**20


class DeepGradientCompression(Exchange):
    """Each process sends the largest sums of its gradients since they were last sent (algorithms 1 and 4).

    Momentum is taken before the summing (momentum correction), and begins anew where a sum is sent (momentum factor
    masking). Gradients are clipped before both, all of a process together, which is why they come in one piece. Biases
    and normalisations are sent whole with ordinary momentum, and so is everything at sparsity 0: that is SGD. The hook
    takes momentum and weight decay over from the optimiser.

    At a checkpoint every process takes the mean of what all have not sent: so a checkpoint holds it once, for any
    number of processes, and a run that was killed goes on as it would have.

    Args:
        optimizer: SGD; it is left with plain steps.
        sparsity: the share of the sums that is not sent.
        warmup_steps: in which the sparsity rises from 75 %.
        first_step: steps done before.
        clip: the largest norm of a gradient; that of a process may have the square root of its share. 0 does not clip.
    """

    clips = True

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        sparsity: float = 0.999,
        warmup_steps: int = 0,
        first_step: int = 0,
        clip: float = 0.0,
    ):
        super().__init__()
        self.sparsity, self.warmup_steps, self.step, self.clip = sparsity, warmup_steps, first_step, clip
        self.memory: dict[Tensor, _Memory] = {}
        for group in optimizer.param_groups:
            self.memory |= {parameter: _Memory(parameter, group) for parameter in group["params"]}
            group |= {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
        self.bucket_mb = 1 + sum(parameter.nbytes for parameter in self.memory) // MIB

    def send(self, bucket: distributed.GradBucket) -> Future[Tensor]:
        """The hook: from gradients of this process to the mean of what all send."""
        buffer, world_size = bucket.buffer(), distributed.get_world_size()
        if self.clip:
            limit = self.clip / math.sqrt(world_size)
            buffer.mul_((limit / torch.linalg.vector_norm(buffer).clamp(min=1e-6)).clamp(max=1.0))
        sparsity = sparsity_of(self.step, self.warmup_steps, self.sparsity)
        whole, values, places, begin = [], [], [], 0
        for parameter, gradient in zip(bucket.parameters(), bucket.gradients(), strict=True):
            memory, flat = self.memory[parameter], gradient.view(-1)
            update = memory.add(parameter, gradient)
            if memory.is_vector or sparsity == 0:
                whole.append(flat.copy_(update))
            else:
                chosen, sent = memory.take_largest(update, sparsity)
                places.append(chosen + begin)
                values.append(sent)
                flat.zero_()
            begin += flat.numel()
        self.step += bucket.is_last()
        if places:
            buffer.index_put_((self._gather(torch.cat(places).int()).long(),), self._gather(torch.cat(values)), True)
        together = torch.cat([*whole, buffer.new_empty(0)])
        self.bytes_sent += together.nbytes

        def finish(reduced: Future[Any]) -> Tensor:
            for flat, mean in zip(whole, together.split([flat.numel() for flat in whole]), strict=True):
                flat.copy_(mean)
            return buffer.div_(world_size)

        return distributed.all_reduce(together, async_op=True).get_future().then(finish)

    def _gather(self, own: Tensor) -> Tensor:
        """Of all processes, one after another."""
        self.bytes_sent += own.nbytes
        everyones = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(everyones, own)
        return torch.cat(everyones)

    def state(self) -> ParameterState:
        """The momentum and the sums that were not sent, from here on the mean of all processes."""
        for memory in self.memory.values():
            for tensor in memory.tensors().values():
                distributed.all_reduce(tensor)
                tensor.div_(distributed.get_world_size())
        return {index: memory.tensors() for index, memory in enumerate(self.memory.values())}

    def restore(self, state: ParameterState) -> None:
        """The reverse of ``state``."""
        for index, memory in enumerate(self.memory.values()):
            for name, tensor in memory.tensors().items():
                if index in state:
                    tensor.copy_(state[index][name])


class _Memory:
    """What a process remembers of a parameter, in the order of its memory: the momentum, and what was not sent.

    Vectors are sent whole.
    """

    def __init__(self, parameter: Tensor, group: dict[str, Any]):
        self.factor, self.nesterov, self.decay = group["momentum"], group["nesterov"], group["weight_decay"]
        self.momentum = torch.zeros(parameter.numel(), dtype=parameter.dtype, device=parameter.device)
        self.is_vector = parameter.dim() <= 1
        self.unsent = self.momentum.new_zeros(0 if self.is_vector else parameter.numel())

    def add(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        """What SGD would go by: the gradient, which changes, with weight decay and momentum."""
        if self.decay:  # the buffer has the parameter's order in memory, such as channels last
            gradient.as_strided(parameter.shape, parameter.stride()).add_(parameter.detach(), alpha=self.decay)
        flat = gradient.view(-1)
        self.momentum.mul_(self.factor).add_(flat)
        return flat.add(self.momentum, alpha=self.factor) if self.nesterov else self.momentum

    def take_largest(self, update: Tensor, sparsity: float) -> tuple[Tensor, Tensor]:
        """Add ``update`` to what was not sent, and take the largest sums out of it: their places and values."""
        self.unsent += update
        count = max(1, round(len(self.unsent) * (1 - sparsity)))
        chosen = self.unsent.abs().topk(count, sorted=False).indices
        sent = self.unsent[chosen]
        self.unsent[chosen] = 0
        self.momentum[chosen] = 0
        return chosen, sent

    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return {"momentum": self.momentum} | ({} if self.is_vector else {"unsent": self.unsent})


def create_exchange(
    config: TrainConfig, optimizer: torch.optim.Optimizer, step: int, num_steps: int, world_size: int
) -> Exchange:
    """What ``config.system.gradient_compression`` asks for; alone, a process sends and compresses nothing.

    Raises:
        InputError: a setting does not fit it.
    """
    system, warmup_steps = config.system, round(config.system.compression_warmup * num_steps)
    if system.gradient_compression != "none" and system.amp == "fp16":
        raise InputError("system.gradient_compression keeps gradients, which fp16 scales: take system.amp bf16")
    if system.gradient_compression == "dgc" and not isinstance(optimizer, torch.optim.SGD):
        raise InputError("system.gradient_compression dgc has a momentum of its own: take optim.name sgd")
    if system.gradient_compression == "none" or world_size == 1:
        return Exchange()
    if system.gradient_compression == "powersgd":
        return PowerSGD(system.compression_rank, warmup_steps - step)
    return DeepGradientCompression(optimizer, system.compression_sparsity, warmup_steps, step, config.optim.grad_clip)


def sparsity_of(step: int, warmup_steps: int, sparsity: float) -> float:
    """The share that is not sent in ``step``: 75, 93.75, 98.4 and 99.6 % in a quarter of the warm-up each."""
    if step >= warmup_steps:
        return sparsity
    return min(sparsity, 1 - 0.25 ** (1 + STAGES * step // warmup_steps))
