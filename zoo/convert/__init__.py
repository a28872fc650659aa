"""Checkpoints of other projects, read safely and translated to our names."""

from zoo.convert.checkpoint import Checkpoint, file_metadata, read_checkpoint, shift_of, stored_shift
from zoo.convert.load import Report, infer_arguments, load_checkpoint
from zoo.convert.safe_pickle import read_tensors

__all__ = [
    "Checkpoint",
    "Report",
    "file_metadata",
    "infer_arguments",
    "load_checkpoint",
    "read_checkpoint",
    "read_tensors",
    "shift_of",
    "stored_shift",
]
