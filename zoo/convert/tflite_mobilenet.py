"""ImageNet weights of MobileNetV2 from a quantised TensorFlow Lite graph, unpacked to a NumPy archive."""

from __future__ import annotations

import math
import os
import zipfile

import numpy as np
import torch
from torch import Tensor

from zoo.convert.mobilenet import conv_norms
from zoo.errors import CheckpointError, InputError

EPSILON = 1e-5
"""What timm's batch normalisation adds to the variance."""


def read_quantized_mobilenet(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The backbone of a quantised MobileNetV2 under our names, without its head.

    The archive holds ``NN.weight_q``, ``NN.scale``, ``NN.zero_point`` and ``NN.bias`` for each convolution in the order
    of the graph; the weight is ``(weight_q - zero_point) * scale`` for each output channel. Batch normalisation is
    folded into it, so the normalisations that are returned only add the bias: mean 0, variance 1 and scale
    ``sqrt(1 + eps)``. The network was trained on RGB divided by 127.5, minus 1, with TensorFlow's "SAME" padding, which
    at stride 2 lies one pixel off from PyTorch's.

    Args:
        path: an ``.npz`` file.

    Returns:
        ``backbone.*`` of timm's ``mobilenetv2_100``, float32, no convolution wrapped in a shift.

    Raises:
        InputError: there is no such file.
        CheckpointError: the file is not such an archive.
    """
    layers = list(conv_norms())
    state: dict[str, Tensor] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for index, layer in enumerate(layers):
                arrays = (archive[f"{index:02d}.{name}"] for name in ("weight_q", "scale", "zero_point", "bias"))
                quantised, scale, zero_point, bias = (torch.from_numpy(np.asarray(a, np.float32)) for a in arrays)
                channels = (-1, *[1] * (quantised.dim() - 1))
                state[f"backbone.{layer.conv}.weight"] = (quantised - zero_point.view(channels)) * scale.view(channels)
                state |= _bias_only(f"backbone.{layer.norm}", bias)
    except FileNotFoundError:
        raise InputError(f"there is no file {os.fspath(path)!r}: check the path") from None
    except (
        OSError,
        KeyError,
        ValueError,
        RuntimeError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        EOFError,
    ) as error:
        raise CheckpointError(
            f"{os.fspath(path)!r} is not an archive of a quantised MobileNetV2 ({error}): it must be an .npz with "
            f"NN.weight_q, NN.scale, NN.zero_point and NN.bias for {len(layers)} convolutions"
        ) from None
    return state


def _bias_only(name: str, bias: Tensor) -> dict[str, Tensor]:
    """A batch normalisation that in evaluation mode adds ``bias`` and does nothing else."""
    ones = torch.ones_like(bias)
    return {
        f"{name}.weight": ones * math.sqrt(1 + EPSILON),
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": ones,
        f"{name}.num_batches_tracked": torch.tensor(0),
    }
