"""The training loop."""

from __future__ import annotations

import csv
import dataclasses
import logging
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from zoo.create import create_model, create_transform
from zoo.data import fingertip, tabletop
from zoo.engine.config import DataConfig, TrainConfig
from zoo.engine.init import init_weights
from zoo.engine.metrics import accuracy, confusion_matrix, mean_iou
from zoo.errors import InputError
from zoo.hub import save_pretrained
from zoo.weights import PointInput, VideoInput, WeightsSpec

CLASS_NAMES = {
    "fingertip": fingertip.CLASS_NAMES,
    "direction": fingertip.DIRECTIONS,
    "tabletop": tabletop.CLASS_NAMES,
}
LOG_EVERY = 50  # steps, where there is no terminal for a progress bar

log = logging.getLogger("zoo.train")


def train(config: TrainConfig) -> Path:
    """Train a model and keep what it learnt.

    The folder ``config.out`` gets config.yaml, log.txt, metrics.csv (a row an epoch), ``best`` and ``last``, two
    folders that ``zoo.load("local-dir:...")`` takes, and training_state.pt, from which ``resume`` goes on.

    Returns:
        The folder of the best checkpoint.

    Raises:
        InputError: the data or the run to resume cannot be read.
    """
    out = Path(config.out)
    state_path = out / "training_state.pt"
    if config.resume and not state_path.is_file():
        raise InputError(f"{state_path}: there is no run to resume; train without --resume first")
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config), sort_keys=False))
    _log_to(out / "log.txt")
    torch.manual_seed(config.seed)

    model: Any = create_model(config.model.name, num_classes=config.model.num_classes, **config.model.args)
    model.spec = describe(config)
    if isinstance(model.spec.input, VideoInput):
        model.to(memory_format=torch.channels_last)
    hold_out = config.data.hold_out_val
    train_loader = _loader(config, "train" if hold_out else "train+val", create_transform(model))
    val_loader = _loader(config, "val", create_transform(model)) if hold_out else None
    if config.init_weights and not config.resume:
        log.info("%d tensors loaded from %s", init_weights(model, config.init_weights), config.init_weights)
    steps = config.epochs * len(train_loader)
    optimizer = torch.optim.AdamW(_parameter_groups(model, config.optim.weight_decay), lr=config.optim.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_cosine(steps, config.optim.warmup))
    epoch, best = 0, -1.0
    if config.resume:
        state = torch.load(state_path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        epoch, best = state["epoch"], state["best"]
        torch.set_rng_state(state["rng"])
        log.info("resumed after epoch %d", epoch)
    loss_function = _loss_function(config)

    while epoch < config.epochs:
        started = time.perf_counter()
        loss = _train_epoch(model, train_loader, loss_function, optimizer, schedule, config.optim.grad_clip, epoch)
        epoch += 1
        figures = {"epoch": epoch, "loss": round(loss, 5)}
        score = float(epoch)
        if val_loader is not None:
            confusion = evaluate(model, val_loader)
            figures |= {"val_accuracy": round(accuracy(confusion), 5), "val_mean_iou": round(mean_iou(confusion), 5)}
            score = figures["val_mean_iou" if isinstance(model.spec.input, PointInput) else "val_accuracy"]
        figures["seconds"] = round(time.perf_counter() - started, 1)
        log.info("%s", figures)
        save_pretrained(model, out / "last")
        if score > best:
            best = score
            save_pretrained(model, out / "best")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        state |= {"epoch": epoch, "best": best, "rng": torch.get_rng_state()}
        torch.save(state, state_path.with_suffix(".tmp"))
        os.replace(state_path.with_suffix(".tmp"), state_path)
        _append_csv(out / "metrics.csv", figures, new=epoch == 1)
    return out / "best"


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]]) -> Tensor:
    """The confusion matrix int64 [K, K] of ``model`` on ``loader``; row = target."""
    was_training = model.training
    model.eval()
    confusion: Tensor | None = None
    for inputs, targets in loader:
        logits = model(inputs)
        counts = confusion_matrix(logits.argmax(1), targets, logits.shape[1])
        confusion = counts if confusion is None else confusion + counts
    model.train(was_training)
    if confusion is None:
        raise InputError("there is nothing to evaluate on: the part of the data is empty")
    return confusion


def describe(config: TrainConfig) -> WeightsSpec:
    """The description that the trained weights will bear."""
    data = config.data
    preprocessing: VideoInput | PointInput
    if data.name == "tabletop":
        preprocessing = PointInput(data.num_points, features=("rgb",))
    else:
        preprocessing = VideoInput(data.num_frames, data.image_size, data.image_size, "squash")
    return WeightsSpec(
        architecture=config.model.name,
        tag=config.model.tag,
        num_classes=config.model.num_classes,
        model_args=config.model.args,
        class_names=CLASS_NAMES[data.name],
        input=preprocessing,
        origin=f"trained by tools/train.py on {data.name} for {config.epochs} epochs",
    )


class _Transformed(Dataset[tuple[Tensor, Tensor]]):
    """A data set with the preprocessing of the model on its inputs."""

    def __init__(self, dataset: Any, transform: Callable[[Tensor], Tensor]):
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, target = self.dataset[index]
        return self.transform(inputs), target


def _loader(
    config: TrainConfig, split: Any, transform: Callable[[Tensor], Tensor]
) -> DataLoader[tuple[Tensor, Tensor]]:
    dataset = _Transformed(make_dataset(config.data, split), transform)
    training = split != "val"
    return DataLoader(dataset, config.batch_size, shuffle=training, drop_last=training, num_workers=config.data.workers)


def make_dataset(data: DataConfig, split: Any) -> Dataset[tuple[Tensor, Tensor]]:
    """The data set of ``data``, its part ``split``."""
    if data.name == "tabletop":
        return tabletop.TabletopDataset(data.path, split, data.num_points, data.samples_per_scene)
    renderer = fingertip.GestureRenderer(data.image_size, tuple(data.styles), data.scale, data.plain)
    if data.name == "direction":
        return fingertip.DirectionDataset(data.path, split, renderer, data.num_frames)
    return fingertip.FingertipDataset(data.path, split, renderer)


def _train_epoch(
    model: nn.Module,
    loader: DataLoader[tuple[Tensor, Tensor]],
    loss_function: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    grad_clip: float,
    epoch: int,
) -> float:
    """One pass over ``loader``; returns the mean loss."""
    model.train()
    total = 0.0
    bar = tqdm(loader, desc=f"epoch {epoch + 1}", disable=not sys.stderr.isatty(), leave=False)
    for step, (inputs, targets) in enumerate(bar, start=1):
        loss = loss_function(model(inputs), targets)
        if not math.isfinite(loss.item()):
            raise InputError("the loss is not finite: lower --optim.lr")
        optimizer.zero_grad()
        loss.backward()
        if grad_clip:
            nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
        optimizer.step()
        schedule.step()
        total += loss.item()
        bar.set_postfix(loss=f"{loss.item():.3f}")
        if bar.disable and step % LOG_EVERY == 0:
            log.info("epoch %d, step %d of %d: mean loss %.4f", epoch + 1, step, len(loader), total / step)
    return total / len(loader)


def _loss_function(config: TrainConfig) -> nn.CrossEntropyLoss:
    weights = config.optim.class_weights
    if weights is not None and len(weights) != config.model.num_classes:
        raise InputError(f"optim.class_weights: {len(weights)} weights for {config.model.num_classes} classes")
    weight = None if weights is None else torch.tensor(weights)
    return nn.CrossEntropyLoss(weight, label_smoothing=config.optim.label_smoothing)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights, which decay, and biases and normalisations, which do not."""
    decay = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    return [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _warmup_cosine(steps: int, warmup: float) -> Callable[[int], float]:
    rising = max(1, round(steps * warmup))
    return lambda step: min((step + 1) / rising, 0.5 * (1 + math.cos(math.pi * min(step / max(steps, 1), 1))))


def _append_csv(path: Path, row: dict[str, Any], new: bool) -> None:
    with open(path, "w" if new else "a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def _log_to(path: Path) -> None:
    """Say what happens on standard error and in ``path``."""
    log.setLevel(logging.INFO)
    log.handlers = [logging.StreamHandler(), logging.FileHandler(path)]
    for handler in log.handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
