"""The configuration of a training run: one YAML file, every key of which can be overridden on the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class ModelConfig:
    """What is trained.

    Args:
        name: an architecture, see `zoo list`.
        tag: under which the trained weights are known.
        num_classes: of the classifier.
        args: further arguments of the architecture.
    """

    name: str
    num_classes: int
    tag: str = "mine"
    args: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataConfig:
    """What it is trained on.

    Args:
        name: the data set.
        path: its file.
        num_frames: of a clip; fingertip tracks have 16 steps.
        image_size: of drawn frames, in pixels.
        styles: how fingertip tracks are drawn.
        scale: the least and the largest multiple of its own scale at which a fingertip track is drawn.
        plain: the share of fingertip clips that are drawn in black and white, without noise.
        num_points: that the model sees at once.
        samples_per_scene: how many samples of each scene an epoch has.
        hold_out_val: choose the best epoch on the validation part; false trains on that part too, once the settings are
            chosen, and takes the last epoch.
        workers: processes that prepare samples; 0 prepares them in the training process.
    """

    name: Literal["fingertip", "direction", "tabletop"]
    path: str
    num_frames: int = 16
    image_size: int = 64
    styles: list[Literal["dot", "stroke"]] = field(default_factory=lambda: ["dot", "stroke"])
    scale: tuple[float, float] = (0.9, 3.2)
    plain: float = 0.4
    num_points: int = 4096
    samples_per_scene: int = 8
    hold_out_val: bool = True
    workers: int = 0


@dataclass
class OptimConfig:
    """How it is trained: AdamW, a linear warm-up, then a cosine to zero.

    Args:
        lr: the highest learning rate.
        weight_decay: on weights, not on biases and normalisations.
        warmup: the share of the steps in which the learning rate rises.
        label_smoothing: of the cross entropy.
        class_weights: how much each class counts in the loss; by default all count the same.
        grad_clip: the largest norm of the gradient; 0 does not clip.
    """

    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    label_smoothing: float = 0.0
    class_weights: list[float] | None = None
    grad_clip: float = 5.0


@dataclass
class TrainConfig:
    """A training run.

    Args:
        model: what is trained.
        data: what it is trained on.
        optim: how.
        out: the folder of the run.
        epochs: passes over the training part.
        batch_size: samples a step.
        init_weights: a checkpoint to start from, or the convolutions of a quantised ImageNet MobileNetV2 (.npz).
        resume: go on from the last checkpoint in `out`.
        seed: of weights, drawing and order.
    """

    model: ModelConfig
    data: DataConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    out: str = "out/run"
    epochs: int = 10
    batch_size: int = 16
    init_weights: str | None = None
    resume: bool = False
    seed: int = 0
