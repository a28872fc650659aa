"""Efficient Recognition Zoo: temporal-shift and point-voxel networks, from a name and a file to an answer."""

from zoo import ops
from zoo.create import create_model, create_transform
from zoo.export import OptimizedModel, export_model, optimize
from zoo.hub import push_to_hub, save_pretrained
from zoo.predict import Predictor, load
from zoo.registry import list_models

__version__ = "0.1.0"
__all__ = [
    "OptimizedModel",
    "Predictor",
    "create_model",
    "create_transform",
    "export_model",
    "list_models",
    "load",
    "ops",
    "optimize",
    "push_to_hub",
    "save_pretrained",
]
