"""How models are compared: what is averaged over what, as in the papers, with intervals and files of results."""

from zoo.engine.protocols.classification import evaluate_classification
from zoo.engine.protocols.evaluate import evaluate
from zoo.engine.protocols.evaluation import Evaluation, merge_folds
from zoo.engine.protocols.kitti import evaluate_kitti
from zoo.engine.protocols.results import write_results
from zoo.engine.protocols.segmentation import Cloud, evaluate_segmentation

__all__ = [
    "Cloud",
    "Evaluation",
    "evaluate",
    "evaluate_classification",
    "evaluate_kitti",
    "evaluate_segmentation",
    "merge_folds",
    "write_results",
]
