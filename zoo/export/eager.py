"""A copy of a model that computes the same faster in PyTorch itself."""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from zoo.export.signature import Network, example_inputs, signature_of

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fast_copy(model: nn.Module, example: Any = None) -> nn.Module:
    """A copy of ``model`` in evaluation mode: batch norms folded into the layers before them, images channels-last.

    Args:
        model: which does not change.
        example: what it is called with, see :func:`zoo.optimize`; by default noise of the size that its preprocessing
            gives.

    Raises:
        InputError: there is no example, and nothing is known about the model's input.
    """
    fast: Any = copy.deepcopy(model).eval().requires_grad_(False)
    inputs = example_inputs(fast, example)
    fold_batch_norms(fast, Network(fast, signature_of(fast, inputs)), inputs)
    for module in fast.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return fast


@torch.no_grad()
def fold_batch_norms(model: nn.Module, network: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Fold every batch norm that sees nothing but the output of one layer into that layer.

    Where that is so is found by running the network, so that nothing depends on how a library calls its modules.

    Args:
        model: in evaluation mode; its layers change.
        network: what runs it.
        inputs: of the network.

    Returns:
        how many were folded.
    """
    uses = _Uses()
    pairs: list[tuple[Any, str, Any]] = []
    calls: Counter[nn.Module] = Counter()

    def after_layer(layer: nn.Module, _: Any, out: Tensor) -> None:
        calls[layer] += 1
        uses.follow(out, layer)

    def before_norm(norm: nn.Module, args: tuple[Tensor, ...], name: str) -> None:
        calls[norm] += 1
        layer = uses.maker(args[0])
        if layer is not None and args[0].shape[1] == norm.num_features and (args[0].dim() == 2 or layer in convs):
            pairs.append((layer, name, norm))

    convs, handles = set(), []
    for name, module in model.named_modules():
        if isinstance(module, LAYERS):
            handles.append(module.register_forward_hook(after_layer))
            convs |= set() if isinstance(module, nn.Linear) else {module}
        elif isinstance(module, NORMS) and module.track_running_stats:
            handles.append(
                module.register_forward_pre_hook(lambda norm, args, name=name: before_norm(norm, args, name))
            )
    with uses:
        network(*inputs)
    for handle in handles:
        handle.remove()
    folded = [pair for pair in pairs if calls[pair[0]] == calls[pair[2]] == uses.counts[pair[0]] == 1]
    for layer, name, norm in folded:
        fused: Any = (fuse_conv_bn_eval if layer in convs else fuse_linear_bn_eval)(layer, norm)
        layer.weight, layer.bias = fused.weight, fused.bias
        # A norm of timm has its activation with it.
        model.set_submodule(name, norm.act if hasattr(norm, "act") else nn.Identity())
    return len(folded)


class _Uses(TorchFunctionMode):
    """Counts how many functions see the output of each layer.

    Attributes:
        counts: by layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[nn.Module] = Counter()
        self._made: dict[int, tuple[Any, nn.Module]] = {}

    def follow(self, out: Tensor, layer: nn.Module) -> None:
        """Count from now on what sees ``out``."""
        self._made[id(out)] = weakref.ref(out), layer

    def maker(self, tensor: Tensor) -> nn.Module | None:
        """The layer whose output ``tensor`` is."""
        reference, layer = self._made.get(id(tensor), (lambda: None, None))
        return layer if reference() is tensor else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function and count what it sees; to look at a shape or a dtype is no use of the values."""
        if getattr(func, "__name__", "") not in ("__get__", "dim", "size"):
            for value in tree_leaves((args, kwargs)):
                layer = self.maker(value) if isinstance(value, Tensor) else None
                if layer is not None:
                    self.counts[layer] += 1
        return func(*args, **(kwargs or {}))
