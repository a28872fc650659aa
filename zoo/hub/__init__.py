"""Where weights lie: the checkpoints that come with the package, and folders that ``save_pretrained`` wrote."""

from zoo.hub.bundled import checkpoints_folder, register_bundled
from zoo.hub.pretrained_folder import WEIGHTS_NAME, load_weights, read_description, save_pretrained, write_weights
from zoo.hub.resolve import resolve

__all__ = [
    "WEIGHTS_NAME",
    "checkpoints_folder",
    "load_weights",
    "read_description",
    "register_bundled",
    "resolve",
    "save_pretrained",
    "write_weights",
]
