"""Where the residual blocks of a timm CNN are, and which convolution begins their residual branch.

No list of classes: the backbone runs once on the meta device, and where a module adds two tensors, of which one has
passed through convolutions that the other has not, that module is a residual block.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SUITABLE = (
    "resnet*, resnext*, resnetv2_*, res2net*, resnest*, regnet*, darknet*, nfnet*, dla*, hrnet_*, convnext*, "
    "inception_next_*, mobilenetv2_*, mobilenetv3_*, mobilenetv4_conv_*, efficientnet_*, mnasnet_*, ghostnet*, rexnet*"
)
CONVOLUTIONS = (torch.ops.aten.convolution.default,)
LINEARS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)
BATCH_NORM = torch.ops.aten.native_batch_norm.default
ADDITIONS = (torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor)
CLIP = 1  # the mark of everything that comes from the input of the network


@dataclass(frozen=True)
class ResidualBlock:
    """A residual block: its name, that of the first convolution of its branch, and its place in the stage."""

    name: str
    first_conv: str
    index: int
    stage_length: int


def find_residual_blocks(backbone: nn.Module) -> list[ResidualBlock]:
    """The residual blocks of ``backbone``, in order.

    The first convolution of a block is that of its members through which alone the residual branch is entered: a
    convolution, or a module that holds one, such as a convolution with its normalisation.

    Raises:
        ValueError: none are found; the text lists backbones that have some.
    """
    branches = _find_branches(backbone)
    kinds = {type(backbone.get_submodule(name)) for name in branches}
    blocks = []
    for stage_name, stage in backbone.named_modules():
        members = [f"{stage_name}.{name}".lstrip(".") for name, child in stage.named_children() if type(child) in kinds]
        for index, name in enumerate(members):
            if name in branches:
                blocks.append(ResidualBlock(name, branches[name], index, len(members)))
    if not blocks:
        raise ValueError(
            f"residual blocks of convolutions that could be shifted are not known here in {type(backbone).__name__}; "
            f"suitable backbones are {SUITABLE}"
        )
    return blocks


def _find_branches(backbone: nn.Module) -> dict[str, str]:
    """The names of the outermost residual blocks with those of the modules that begin their branches."""
    originals = [*backbone.parameters(), *backbone.buffers()]
    sketch = copy.deepcopy(backbone, {id(tensor): _without_values(tensor) for tensor in originals}).eval()
    trace = _Trace(sketch)
    config = getattr(backbone, "default_cfg", None) or {}
    like = next(iter(originals), torch.empty(0))
    try:
        with torch.no_grad(), trace:
            sketch(
                trace.mark(torch.empty(1, *config.get("input_size", (3, 224, 224)), dtype=like.dtype, device="meta"))
            )
    except (NotImplementedError, RuntimeError):  # it cannot run without values, so that nothing is known about it
        return {}
    branches: dict[str, str] = {}
    for name in trace.branches:
        if not any(name.startswith(f"{other}.") for other in trace.branches):
            branches[name] = trace.branches[name]
    return branches


def _without_values(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


@dataclass
class _Call:
    """One call of a module while the network runs; layers are bits of a mask."""

    name: str
    shape: torch.Size | None = None  # of its only argument, if that is an image; the next two are about it as well
    passed: int = 0
    alone: bool = True
    convolutions: int = 0
    layers: int = 0
    conv_sizes: set[torch.Size] = field(default_factory=set)  # heights and widths that its convolutions see
    inner: list[_Call] = field(default_factory=list)
    sums: list[tuple[int, int]] = field(default_factory=list)

    def entry(self) -> _Call | None:
        """The call inside that begins the residual branch, if this is a residual block."""
        for sides in self.sums:
            skip, branch = sorted((mask & self.layers for mask in sides), key=int.bit_count)
            if skip & branch or skip.bit_count() == branch.bit_count() or not branch & self.convolutions:
                continue
            entries = [call for call in self.inner if call.convolutions & branch and not call.passed & self.layers]
            if len(entries) == 1 and entries[0].alone and entries[0].shape == self.shape is not None:
                channels_first = self.shape[2:] in entries[0].conv_sizes
                return entries[0] if channels_first else None
        return None


class _Trace(TorchDispatchMode):
    """Runs a network and notes through which layers every tensor has passed.

    Attributes:
        branches: the residual blocks, inner ones too, with the modules that begin their branches.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.branches: dict[str, str] = {}
        self._calls = [_Call("")]
        self._passed: dict[int, int] = {}
        self._alive: list[Tensor] = []  # else another tensor could take the place of one that is noted
        self._next = CLIP << 1
        for name, module in network.named_modules():
            module.register_forward_pre_hook(
                lambda _, args, keywords, name=name: self._begin(name, args, keywords), with_kwargs=True
            )
            module.register_forward_hook(lambda *_: self._end())

    def mark(self, image: Tensor) -> Tensor:
        """Note that ``image`` is what the network sees."""
        self._note(image, CLIP)
        return image

    def _note(self, tensor: Tensor, mask: int) -> None:
        self._passed[id(tensor)] = mask
        self._alive.append(tensor)

    def _mask(self, values: Any) -> int:
        mask = 0
        for value in tree_leaves(values):
            if isinstance(value, Tensor):
                mask |= self._passed.get(id(value), 0)
        return mask

    def _begin(self, name: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        call = _Call(name, alone=len(args) == 1 and not keywords)
        if args and isinstance(args[0], Tensor) and args[0].dim() == 4:
            call.shape, call.passed = args[0].shape, self._mask(args[0])
        self._calls[-1].inner.append(call)
        self._calls.append(call)

    def _end(self) -> None:
        call = self._calls.pop()
        entry = call.entry()
        if entry is not None:
            self.branches.setdefault(call.name, entry.name)
        call.inner.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and hand on the marks of its arguments."""
        if func is BATCH_NORM:  # half of the time, and the shape is known
            out: Any = (torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0))
        else:
            out = func(*args, **(kwargs or {}))
        mask = self._mask((args, kwargs))
        if mask and func in CONVOLUTIONS + LINEARS:
            for call in self._calls:
                call.layers |= self._next
                if func in CONVOLUTIONS:
                    call.convolutions |= self._next
                    call.conv_sizes.add(args[0].shape[2:])
            mask |= self._next
            self._next <<= 1
        if func in ADDITIONS and all(isinstance(side, Tensor) for side in args[:2]) and args[0].shape == args[1].shape:
            sides = self._mask(args[0]), self._mask(args[1])
            if all(sides):
                self._calls[-1].sums.append(sides)
        for result in tree_leaves(out):
            if isinstance(result, Tensor):
                self._note(result, mask)
        return out
