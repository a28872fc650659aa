"""Temporal shifts that move nothing: where a shift precedes a 1x1 convolution, both are one product (TSM, fig. 3b)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from zoo import ops
from zoo.layers.replace import replace_modules
from zoo.layers.temporal_shift import TemporalShift, is_pointwise
from zoo.ops.pointwise import Activation

ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.ReLU6: "relu6"}  # that it computes as well


class ShiftedPointwiseConv(TemporalShift):
    """A :class:`TemporalShift` of a 1x1 convolution that computes the same without a shifted tensor.

    Its parameters are those of the convolution, under the same names, so that checkpoints fit either.

    Attributes:
        activation: what is computed along with it: "none", "relu" or "relu6".
    """

    activation: Activation = "none"

    @classmethod
    def of(cls, shift: TemporalShift) -> ShiftedPointwiseConv:
        """The same as ``shift``, whose convolution it shares.

        Raises:
            ValueError: what is shifted is no 1x1 convolution, or has hooks.
        """
        if not is_pointwise(shift.net):
            raise ValueError(f"a shift of a 1x1 convolution without hooks is needed, not of {shift.net}")
        conv = cls(shift.net, shift.context, shift.index, shift.shift_div, shift.direction)
        return conv.train(shift.training)

    def on_clips(self, x: Tensor) -> Tensor:
        """See there."""
        weight, bias = self._parameters_of_conv()
        num_frames = self.context.num_frames
        return ops.shifted_pointwise_conv(
            x, weight, bias, num_frames, self.shift_div, self.direction, activation=self.activation
        )

    def on_stream(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """See there."""
        weight, bias = self._parameters_of_conv()
        return ops.online_pointwise_conv(x, past, weight, bias, self.activation)

    def _parameters_of_conv(self) -> tuple[Tensor, Tensor | None]:
        conv: Any = self.net
        return conv.weight, conv.bias

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{super().extra_repr()}, activation={self.activation!r}"


def use_shifted_convs(model: nn.Module) -> list[str]:
    """Put a :class:`ShiftedPointwiseConv` in the place of every shift of a 1x1 convolution, in the model itself.

    The model computes the same and learns the same, in less time and memory; its parameters keep their names.

    Returns:
        the names of the modules that were replaced.
    """

    def replacement(module: nn.Module) -> nn.Module | None:
        if type(module) is TemporalShift and is_pointwise(module.net):
            return ShiftedPointwiseConv.of(module)
        return None

    return replace_modules(model, replacement)
