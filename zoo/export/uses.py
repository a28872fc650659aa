"""Which modules see what a layer gives, found out by running the network."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


def sole_followers(
    model: nn.Module,
    network: nn.Module,
    inputs: Sequence[Tensor],
    layers: tuple[type[nn.Module], ...],
    followers: tuple[type[nn.Module], ...],
    fits: Callable[[Any, Any, Tensor], bool],
) -> list[tuple[Any, str, Any]]:
    """The layers whose output one other module sees and nothing else, so that both can become one.

    Nothing depends on how a library calls its modules.

    Args:
        model: whose modules these are.
        network: what runs it.
        inputs: of the network.
        layers: the types of the layers,
        followers: and of the modules behind them.
        fits: whether a layer and a module can become one, given what lies between.

    Returns:
        the layers with the names of their followers and the followers. Each of them is called once.
    """
    uses = _Uses()
    pairs: list[tuple[nn.Module, str, nn.Module]] = []
    calls: Counter[nn.Module] = Counter()

    def after_layer(layer: nn.Module, _: Any, out: Tensor) -> None:
        calls[layer] += 1
        uses.follow(out, layer)

    def before_follower(follower: nn.Module, args: tuple[Tensor, ...], name: str) -> None:
        calls[follower] += 1
        layer = uses.maker(args[0])
        if layer is not None and fits(layer, follower, args[0]):
            pairs.append((layer, name, follower))

    def after_follower(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        if out is args[0]:  # written over: from here on it is what the follower gives
            uses.forget(out)

    handles = []
    for name, module in model.named_modules():
        if isinstance(module, layers):
            handles.append(module.register_forward_hook(after_layer))
        elif isinstance(module, followers):
            handles.append(
                module.register_forward_pre_hook(lambda module, args, name=name: before_follower(module, args, name))
            )
            handles.append(module.register_forward_hook(after_follower))
    with uses:
        network(*inputs)
    for handle in handles:
        handle.remove()
    return [pair for pair in pairs if calls[pair[0]] == calls[pair[2]] == uses.counts[pair[0]] == 1]


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

    def forget(self, tensor: Tensor) -> None:
        """Count no longer what sees ``tensor``."""
        self._made.pop(id(tensor), None)

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
