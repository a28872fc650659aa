"""Measuring a trained checkpoint on a part of the data that training never saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch

from zoo.data import fingertip, tabletop
from zoo.engine.metrics import accuracy, confusion_matrix, mean_iou
from zoo.predict import load
from zoo.weights import Metric

RENDERED_SIZE = 112  # pixels; larger than the model's input, so that its own resizing is measured too
COMMAND = "tools/validate.py"
FIGURES = "figures.json"

Split = Literal["val", "test"]


def measure(folder: Path, data: str, path: str, split: Split = "test") -> list[Metric]:
    """Measure the checkpoint in ``folder`` and write the figures beside the folder, to figures.json.

    Args:
        folder: as ``save_pretrained`` wrote it.
        data: the name of the data set, "fingertip" or "tabletop".
        path: its file.
        split: "val" to choose settings by; "test" once they are chosen.

    Raises:
        InputError: the data cannot be read.
        CheckpointError: the checkpoint is damaged.
    """
    predictor = load(f"local-dir:{folder}")
    metrics = _fingertip(predictor, path, split) if data == "fingertip" else _tabletop(predictor, path, split)
    entries = [{**vars(metric)} for metric in metrics]
    (folder.parent / FIGURES).write_text(json.dumps(entries, indent=2) + "\n")
    return metrics


def _fingertip(predictor: Any, path: str, split: Split) -> list[Metric]:
    """Accuracy on the tracks, each drawn once as a dot and once as a stroke."""
    metrics = []
    styles: tuple[fingertip.Style, ...] = ("dot", "stroke")
    for style in styles:
        renderer = fingertip.GestureRenderer(RENDERED_SIZE, (style,), (1.0, 3.0))
        dataset = fingertip.FingertipDataset(path, split, renderer, seed=1)
        confusion = torch.zeros(len(fingertip.CLASS_NAMES), len(fingertip.CLASS_NAMES), dtype=torch.int64)
        for index in range(len(dataset)):
            clip, label = dataset[index]
            scores = predictor(clip.permute(0, 2, 3, 1)).scores
            confusion += confusion_matrix(scores.argmax()[None], label[None], len(confusion))
        protocol = f"drawn as a {style} at one to three times its scale, {RENDERED_SIZE} pixels, each track once"
        where = f"fingertip, {len(dataset)} {split} tracks"
        metrics.append(Metric(f"accuracy, {style}", round(accuracy(confusion), 4), where, protocol, COMMAND))
    return metrics


def _tabletop(predictor: Any, path: str, split: Split) -> list[Metric]:
    """Accuracy and mean IoU over all points of the scenes."""
    scenes = tabletop.read_scenes(path, split)
    confusion = torch.zeros(len(tabletop.CLASS_NAMES), len(tabletop.CLASS_NAMES), dtype=torch.int64)
    for points, labels in scenes:
        confusion += confusion_matrix(predictor(points).labels, torch.from_numpy(labels), len(confusion))
    where, protocol = f"mOSD tabletop, {len(scenes)} {split} scenes", "all points of all scenes, one pass"
    figures = {"mean IoU": mean_iou(confusion), "point accuracy": accuracy(confusion)}
    return [Metric(name, round(value, 4), where, protocol, COMMAND) for name, value in figures.items()]
