"""Starting from weights that were trained on something else."""

from __future__ import annotations

from torch import nn

from zoo.convert import read_checkpoint
from zoo.convert.tflite_mobilenet import read_quantized_mobilenet
from zoo.errors import CheckpointError


def init_weights(model: nn.Module, path: str) -> int:
    """Load what the network in ``path`` and ``model`` share; shifts do not matter, a head of another shape is left out.

    From a quantised MobileNetV2 (.npz) only the convolutions are taken. Its batch normalisations are folded into them,
    and with pictures as unlike its own as drawn strokes most of its channels would stay silent; fresh ones wake them.

    Returns:
        How many tensors were loaded.

    Raises:
        CheckpointError: a convolution of the backbone is not in the file, or has another shape.
    """
    quantized = path.endswith(".npz")
    loaded = read_quantized_mobilenet(path) if quantized else read_checkpoint(path).state_dict
    source = {name.replace(".net.", "."): tensor for name, tensor in loaded.items()}
    count = 0
    for name, tensor in model.state_dict().items():
        found = source.get(name.replace(".net.", "."))
        fits = found is not None and found.shape == tensor.shape
        if not fits and name.startswith("backbone.") and tensor.dim() == 4:
            raise CheckpointError(f"{path}: has no {name} of shape {list(tensor.shape)}; it is of another backbone")
        if found is not None and fits and not (quantized and tensor.dim() == 1):
            tensor.copy_(found)
            count += 1
    return count
