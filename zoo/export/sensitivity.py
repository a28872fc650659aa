"""Which layers of a model suffer from int8: each computed in it alone, and each left out of it alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from zoo.errors import InputError
from zoo.export.calibration import Calibration, calibration_inputs, calibration_list
from zoo.export.eager import LAYERS, fold_batch_norms
from zoo.export.signature import Network, example_inputs, signature_of

LARGEST_WEIGHT, LARGEST_INPUT = 127, 255  # of eight bits, with a sign and without
TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Loss:
    """How far a model in int8 is from itself in float32.

    Attributes:
        error: of its outputs, the root of the mean square, as a share of that of the outputs themselves.
        changed: the share of its decisions, the likeliest class of a clip, cloud or point, that are others.
    """

    error: float
    changed: float


@dataclass(frozen=True)
class LayerSensitivity:
    """What int8 does to one layer.

    Attributes:
        layer: its name in the model.
        alone: the loss where only this layer is in int8.
        left_out: the loss where all but this layer are.
    """

    layer: str
    alone: Loss
    left_out: Loss


@dataclass(frozen=True)
class Sensitivity:
    """What int8 does to a model.

    Attributes:
        layers: the most sensitive first, by the error where only they are in int8.
        together: the loss where all are in int8.
    """

    layers: tuple[LayerSensitivity, ...]
    together: Loss


@torch.no_grad()
def layer_sensitivity(model: nn.Module, calibration: Calibration) -> Sensitivity:
    """Find out which layers of ``model`` suffer from int8.

    Weights and inputs of layers are rounded as the runtimes round them: weights with a scale for every output channel,
    inputs with one scale from their least to their largest value. What is computed between is float32, so that this
    tells of the rounding alone, the same for every runtime.

    Args:
        model: of any kind that the zoo makes; it does not change.
        calibration: as :func:`zoo.optimize` takes it. The losses are measured on the same inputs.

    Raises:
        InputError: the set is empty, or the model does not take what is in it.
    """
    samples = calibration_list(model, calibration)
    folded: Any = copy.deepcopy(model).eval()
    example = example_inputs(folded, samples[0])
    network = Network(folded, signature_of(folded, example))
    inputs = calibration_inputs(network, samples)
    run: Callable[..., Any] = network
    if network.signature.is_step:  # errors go from step to step with the state, so whole clips are looked at
        run, inputs = folded, [(_as_clip(sample),) for sample in samples]
    fold_batch_norms(folded, network, example)
    rounded = {name: _Rounded(layer) for name, layer in folded.named_modules() if isinstance(layer, LAYERS)}
    expected = _outputs(run, inputs)
    for layer in rounded.values():
        layer.watching = False
    rounded = {name: layer for name, layer in rounded.items() if layer.ranges}  # the others are never called

    def loss_of(chosen: Iterable[str]) -> Loss:
        wanted = set(chosen)
        for name, layer in rounded.items():
            layer.switch(name in wanted)
        return _loss(_outputs(run, inputs), expected)

    layers = [
        LayerSensitivity(name, loss_of([name]), loss_of(other for other in rounded if other != name))
        for name in tqdm(rounded, desc="sensitivity", unit=" layers", leave=False, disable=None)  # on a terminal
    ]
    layers.sort(key=lambda layer: -layer.alone.error)
    return Sensitivity(tuple(layers), loss_of(rounded))


def _as_clip(sample: Any) -> Tensor:
    """A clip [N, T, C, H, W] of a calibration input, which may be a first frame."""
    clip, *state = sample if isinstance(sample, tuple | list) else (sample,)
    if state:
        raise InputError("the report follows clips from their first frame on: pass clips, without a state")
    return clip if clip.dim() == 5 else clip.unsqueeze(1)


def sensitivity_report(name: str, sensitivity: Sensitivity) -> str:
    """What int8 does to a model, as a page of Markdown.

    Args:
        name: of the model.
        sensitivity: what was found out.
    """
    lines = [
        f"# Layers of {name} in int8",
        "",
        f"All layers in int8: {_words(sensitivity.together)}.",
        "",
        "Errors are the root of the mean square of what the outputs are off, as a share of that of the outputs; "
        "decisions are the likeliest classes of the calibration set. The rounding is simulated, the same for every "
        "runtime.",
        "",
        "| layer | error alone | decisions changed alone | error without it | decisions changed without it |",
        "|---|---|---|---|---|",
    ]
    for layer in sensitivity.layers:
        cells = [f"{loss.error:.4f} | {loss.changed:.2%}" for loss in (layer.alone, layer.left_out)]
        lines.append(f"| {layer.layer} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _words(loss: Loss) -> str:
    return f"error {loss.error:.4f}, {loss.changed:.2%} of the decisions changed"


class _Rounded:
    """A layer whose weights and inputs can be rounded to int8; first it watches which values come in."""

    def __init__(self, layer: Any):
        self.layer = layer
        self.weight = layer.weight.detach().clone()
        largest = self.weight.flatten(1).abs().amax(1).clamp(min=TINY) / LARGEST_WEIGHT
        zeros = torch.zeros_like(largest, dtype=torch.int32)
        self.rounded = torch.fake_quantize_per_channel_affine(
            self.weight, largest, zeros, 0, -LARGEST_WEIGHT, LARGEST_WEIGHT
        )
        self.ranges: list[tuple[float, float]] = []
        self.watching, self.on = True, False
        layer.register_forward_pre_hook(self._look)

    def switch(self, on: bool) -> None:
        """Round from now on, or no more."""
        self.on = on
        self.layer.weight.copy_(self.rounded if on else self.weight)

    def _look(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        first, *rest = inputs
        parts = [first] if isinstance(first, Tensor) else list(first)
        if self.watching:
            self.ranges = self.ranges or [(0.0, 0.0)] * len(parts)  # a range has zero in it, which pads
            self.ranges = [
                (min(low, float(part.min())), max(high, float(part.max())))
                for (low, high), part in zip(self.ranges, parts, strict=True)
            ]
        if not self.on:
            return None
        parts = [_round(part, *limits) for part, limits in zip(parts, self.ranges, strict=True)]
        return (parts[0] if isinstance(first, Tensor) else parts, *rest)


def _round(x: Tensor, low: float, high: float) -> Tensor:
    scale = max((high - low) / LARGEST_INPUT, TINY)
    return torch.fake_quantize_per_tensor_affine(x, scale, round(-low / scale), 0, LARGEST_INPUT)


def _outputs(run: Callable[..., Any], inputs: Sequence[tuple[Tensor, ...]]) -> list[list[Tensor]]:
    """What comes out for each of ``inputs``."""
    outputs = [run(*each) for each in inputs]
    return [[out] if isinstance(out, Tensor) else list(out) for out in outputs]


def _loss(outputs: Sequence[Sequence[Tensor]], expected: Sequence[Sequence[Tensor]]) -> Loss:
    pairs = [pair for each in zip(outputs, expected, strict=True) for pair in zip(*each, strict=True)]
    off = sum(float((out - wanted).double().square().sum()) for out, wanted in pairs)
    size = sum(float(wanted.double().square().sum()) for _, wanted in pairs)
    first = [(out[0].argmax(1), wanted[0].argmax(1)) for out, wanted in zip(outputs, expected, strict=True)]
    changed = sum(int((out != wanted).sum()) for out, wanted in first)
    return Loss((off / max(size, TINY)) ** 0.5, changed / sum(wanted.numel() for _, wanted in first))
