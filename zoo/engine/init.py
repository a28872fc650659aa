"""Starting from weights that were trained on something else."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.convert import read_checkpoint
from zoo.convert.tflite_mobilenet import read_quantized_mobilenet
from zoo.errors import CheckpointError


def init_weights(model: nn.Module, path: str, batch_norms: bool = True) -> int:
    """Load what the network in ``path`` and ``model`` share; shifts do not matter, a head of another shape is left out.

    Args:
        model: the network that will be trained.
        path: a checkpoint, or a quantised MobileNetV2 (.npz), whose batch normalisations only add a bias.
        batch_norms: take the batch normalisations too. With pictures as unlike those of the checkpoint as drawn strokes
            most channels would stay silent; fresh normalisations wake them.

    Returns:
        How many tensors were loaded.

    Raises:
        CheckpointError: a convolution of the backbone is not in the file or has another shape, or nothing fits at all.
    """
    loaded = read_quantized_mobilenet(path) if path.endswith(".npz") else read_checkpoint(path).state_dict
    source = {name.replace(".net.", "."): tensor for name, tensor in loaded.items()}
    norms = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, _BatchNorm))
    count = 0
    for name, tensor in model.state_dict().items():
        found = source.get(name.replace(".net.", "."))
        fits = found is not None and found.shape == tensor.shape
        if not fits and name.startswith("backbone.") and tensor.dim() == 4:
            raise CheckpointError(f"{path}: has no {name} of shape {list(tensor.shape)}; it is of another backbone")
        if found is not None and fits and (batch_norms or not name.startswith(norms)):
            tensor.copy_(found)
            count += 1
    if not count:
        raise CheckpointError(f"{path}: no tensor has the name and shape of one here; it is of another network")
    return count
