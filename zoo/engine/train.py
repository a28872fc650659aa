"""The training loop."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zoo.create import create_model
from zoo.data.bad_files import BadFiles, GuardedDataset, Policy
from zoo.engine import distributed
from zoo.engine.checkpoint import (
    STATE_NAME,
    Progress,
    newest_checkpoint,
    optimizer_state,
    restore_optimizer,
    save_checkpoint,
)
from zoo.engine.config import TrainConfig
from zoo.engine.data import Batch, Sets, make_loader, open_sets, transforms
from zoo.engine.init import init_weights
from zoo.engine.journal import Journal, Steps
from zoo.engine.metrics import accuracy, confusion_matrix, mean_iou
from zoo.engine.optim import create_optimizer, freeze, freeze_batch_norms, learning_rate, set_learning_rate, train_mode
from zoo.engine.order import Prepared, Samples, Schedule, seed_of, share_of
from zoo.errors import InputError
from zoo.registry import architecture_task
from zoo.weights import VideoInput, WeightsSpec

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}

log = logging.getLogger("zoo.train")


class Stopped(Exception):
    """A signal ended the run after a step; all was saved.

    Attributes:
        signal: which.
    """

    def __init__(self, number: int, step: int):
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}: --resume auto goes on from there"
        )
        self.signal = number


def train(config: TrainConfig) -> Path:
    """Train a model and keep what it learnt.

    The folder ``config.out`` gets config.yaml, log.txt, metrics.csv (a row an epoch), curves.png, and checkpoints:
    ``best``, ``last``, and every k-th if that is wanted. Each is a folder that ``zoo.load("local-dir:...")`` takes.

    Returns:
        The folder of the best checkpoint.

    Raises:
        InputError: the data cannot be read, or a value of the configuration does not fit the others.
        Stopped: SIGTERM or SIGINT came.
    """
    device = distributed.local_device(config.system.device)
    distributed.start(device)
    try:
        return _Run(config, device).train()
    finally:
        distributed.stop()


class _Run:
    """A run: what is trained, and where it is."""

    def __init__(self, config: TrainConfig, device: torch.device):
        self.config, self.device, self.out = config, device, Path(config.out)
        self.rank, self.world_size = distributed.rank(), distributed.world_size()
        torch.use_deterministic_algorithms(config.system.deterministic)
        if config.system.amp == "fp16" and device.type != "cuda":
            raise InputError("system.amp fp16 is for GPUs: take bf16 on a CPU")
        torch.manual_seed(seed_of(config.seed))
        self.sets = open_sets(config.data, config.model)
        found = newest_checkpoint(self.out) if config.resume == "auto" else None
        if not found and any(self.out.glob(f"*/{STATE_NAME}")):
            raise InputError(f"{self.out} holds a run: go on with it by --resume auto, or name another folder in --out")
        state, self.progress = found or ({}, Progress())
        distributed.wait_for_all()  # all have looked before one writes
        self.out.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(config, self.rank == 0, self.progress.epoch)
        self.model = _create(config, self.sets, device, start=not state)
        varied, plain = transforms(self.model, self.sets, config.data.augment)
        samples = self._samples(self.sets.train, varied, config.data.bad_files)
        name = "bad_files.txt" if self.rank == 0 else f"bad_files.{self.rank}.txt"
        self.bad_files = BadFiles(self.out / name, len(samples))
        self.schedule = Schedule(
            len(samples),
            config.batch_size,
            config.epochs,
            config.seed,
            self.progress.step,
            self.rank,
            self.world_size,
            config.optim.accumulate,
            getattr(self.sets.train, "shard_sizes", ()),
        )
        self.batches = iter(make_loader(samples, self.schedule, config.data.workers, device))
        self.val: Samples | None = None
        if self.sets.val is not None:  # where every sample counts once
            self.val = self._samples(
                self.sets.val, plain, "skip" if config.data.bad_files == "resample" else config.data.bad_files
            )

        self.optimizer = create_optimizer(self.model, config.optim, config.batch_size)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.system.amp == "fp16")
        self.averaged: Any = None
        if config.optim.ema:
            average = get_ema_multi_avg_fn(config.optim.ema)
            self.averaged = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.totals = torch.zeros(
            2, dtype=torch.float64
        )  # of the epoch: the loss, and the weight of what it is summed over
        if state:
            self._restore(state)
            log.info("going on after step %d of %d", self.progress.step, self.schedule.num_steps)
        self.journal.begin()
        self.network: Any = self.model
        if config.system.compile:
            self.network = torch.compile(self.model)
        if self.world_size > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.network = DistributedDataParallel(self.network, device_ids=ids)
        self.loss = _Loss(config, self.model.num_classes, device)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def _samples(self, dataset: Any, transform: Any, bad_files: Policy) -> Samples:
        """``dataset`` with its preprocessing; files that cannot be read are guarded against."""
        prepared = Prepared(dataset, transform)
        path_of = getattr(dataset, "path_of", str)
        return Samples(GuardedDataset(prepared, bad_files, path_of, self.config.data.timeout or None), self.config.seed)

    def train(self) -> Path:
        with _signals() as received:
            while self.progress.epoch < self.config.epochs:
                self._epoch(received)
        return self.out / "best"

    def _epoch(self, received: list[int]) -> None:
        started = time.perf_counter()
        per_epoch = self.schedule.steps_per_epoch
        done = self.progress.step - self.progress.epoch * per_epoch
        steps = Steps(self.progress.epoch + 1, per_epoch, done, self.config.batch_size, self.rank == 0)
        train_mode(self.model)
        while steps.done < per_epoch:
            stop = self._step(steps, bool(received))
            if stop:
                self._save("last")
                raise Stopped(received[0] if received else signal.SIGTERM, self.progress.step)
            every = self.config.save_steps
            if every and self.progress.step % every == 0 and steps.done < per_epoch:
                self._save("last")
        steps.close()
        self.progress.epoch += 1
        loss = (self.totals[0] / self.totals[1]).item()
        self.totals.zero_()
        figures: dict[str, Any] = {"epoch": self.progress.epoch, "loss": round(loss, 5)}
        score = float(self.progress.epoch)
        if self.val is not None:
            confusion = self._measure(self.val)
            figures["val_accuracy"] = score = round(accuracy(confusion), 5)
            if architecture_task(self.config.model) in ("semantic_segmentation", "part_segmentation"):
                figures["val_mean_iou"] = score = round(mean_iou(confusion), 5)
        figures |= {"seconds": round(time.perf_counter() - started, 1)}
        log.info("epoch %d: %s", self.progress.epoch, ", ".join(" ".join(item) for item in steps.speed().items()))
        if self.progress.best is None or score > self.progress.best:
            self.progress.best = score
            self._save("best")
        if self.config.keep_every and self.progress.epoch % self.config.keep_every == 0:
            self._save(f"epoch-{self.progress.epoch:04d}")
        self._save("last")
        self.journal.epoch(figures, self.progress.step)

    def _step(self, steps: Steps, stop: bool) -> bool:
        """Learn from one batch of samples; returns whether a process was asked to stop."""
        config, optim = self.config, self.config.optim
        rate = learning_rate(optim, self.progress.step, self.schedule.num_steps)
        set_learning_rate(self.optimizer, rate)
        torch.manual_seed(seed_of(config.seed, self.progress.step, self.rank, 1))  # of dropout
        self.optimizer.zero_grad()
        sums = torch.zeros(3, dtype=torch.float64)  # the loss, its weight, whether to stop
        for part in range(optim.accumulate):
            batch, bad = steps.waiting(self.batches)
            self.bad_files.add(bad)
            if batch is None:
                raise InputError(f"no file of a whole batch can be read: see {self.bad_files.path}")
            inputs, target = _to(batch, self.device)
            last = part + 1 == optim.accumulate
            with contextlib.nullcontext() if last or self.world_size == 1 else self.network.no_sync():
                with self._autocast():
                    logits = self.network(*inputs)
                loss, weight = self.loss(logits.float(), target)
                self.scaler.scale(loss).backward()
            sums += torch.tensor([loss.item(), weight, float(stop)], dtype=torch.float64)
        loss_sum, weight, stops = distributed.sum_over_all(sums.to(self.device)).tolist()
        if not math.isfinite(loss_sum):
            raise InputError(f"the loss is not finite in step {self.progress.step + 1}: lower optim.lr")
        self.scaler.unscale_(self.optimizer)
        for parameter in self.parameters:  # to the mean over all samples, wherever they were
            if parameter.grad is not None:
                parameter.grad.mul_(self.world_size / max(weight, 1e-12))
        if optim.grad_clip:
            nn.utils.clip_grad_norm_(self.parameters, optim.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        self.totals += torch.tensor([loss_sum, weight], dtype=torch.float64)
        self.progress.step += 1
        steps.step(loss_sum / max(weight, 1e-12), rate)
        return stops > 0

    def _measure(self, samples: Samples) -> Tensor:
        """The confusion matrix of the model on ``samples``, each of which one process looks at."""
        keys = share_of(len(samples), self.rank, self.world_size)
        size = max(1, self.config.batch_size // (self.world_size * self.config.optim.accumulate))
        batches = [keys[begin : begin + size] for begin in range(0, len(keys), size)]
        model = self._published()
        loader = make_loader(samples, batches, self.config.data.workers, self.device)
        confusion = evaluate(model, loader, self._autocast)
        return distributed.sum_over_all(confusion.to(self.device)).cpu()

    def _published(self) -> nn.Module:
        """The model whose weights are kept: the moving average, where there is one."""
        return self.model if self.averaged is None else self.averaged.module

    def _autocast(self) -> Any:
        dtype = AMP.get(self.config.system.amp)
        return torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext()

    def _save(self, name: str) -> None:
        if self.rank == 0:
            state: dict[str, Any] = {
                "optimizer": optimizer_state(self.optimizer),
                "scaler": self.scaler.state_dict(),
                "totals": self.totals,
            }
            if self.averaged is not None:
                state |= {"model": self.model.state_dict(), "averages": int(self.averaged.n_averaged)}
            published: Any = self._published()
            published.spec = self.model.spec
            save_checkpoint(self.out / name, published, state, self.progress, dataclasses.asdict(self.config))
        distributed.wait_for_all()

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise InputError(f"the run in {self.out} is of another model: name another folder in --out") from error
        restore_optimizer(self.optimizer, state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.totals = state["totals"]
        if self.averaged is not None:
            self.averaged.module.load_state_dict(state["published"])
            self.averaged.n_averaged.fill_(state["averages"])


class _Loss:
    """The cross entropy summed over what is judged, and the weight of that: means are made over all processes."""

    def __init__(self, config: TrainConfig, num_classes: int, device: torch.device):
        weights = config.optim.class_weights
        if weights is not None and len(weights) != num_classes:
            raise InputError(f"optim.class_weights: {len(weights)} weights for {num_classes} classes")
        self.weights = None if weights is None else torch.tensor(weights, device=device)
        self.label_smoothing = config.optim.label_smoothing

    def __call__(self, logits: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """Logits [B, K] or [B, K, N] and classes [B] or [B, N]; those of -1 do not count."""
        loss = F.cross_entropy(
            logits, target, self.weights, ignore_index=-1, reduction="sum", label_smoothing=self.label_smoothing
        )
        judged = target[target >= 0]
        return loss, float(len(judged) if self.weights is None else self.weights[judged].sum())


@torch.no_grad()
def evaluate(model: nn.Module, batches: Any, autocast: Callable[[], Any] = contextlib.nullcontext) -> Tensor:
    """The confusion matrix int64 [K, K] of ``model`` on what ``make_loader`` gives; row = target."""
    was_training = model.training
    model.eval()
    num_classes = int(model.num_classes)  # type: ignore[arg-type]
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    device = next(model.parameters()).device
    for batch, _ in batches:
        if batch is None:
            continue
        inputs, targets = _to(batch, device)
        with autocast():
            logits = model(*inputs)
        confusion += confusion_matrix(logits.argmax(1), targets, num_classes).cpu()
    model.train(was_training)
    return confusion


def describe(config: TrainConfig, sets: Sets) -> WeightsSpec:
    """The description that the trained weights will bear."""
    return WeightsSpec(
        architecture=config.model,
        tag=config.tag,
        num_classes=len(sets.class_names),
        model_args=config.model_args,
        class_names=sets.class_names,
        input=sets.input,
        origin=f"trained by tools/train.py on {config.data.name} for {config.epochs} epochs",
    )


def _create(config: TrainConfig, sets: Sets, device: torch.device, start: bool) -> Any:
    """The model of ``config``; with ``start`` it gets the weights that training starts from."""
    num_classes = len(sets.class_names)
    if config.num_classes not in (None, num_classes):
        raise InputError(f"num_classes is {config.num_classes}, but the data have {num_classes}: leave it out")
    arguments, weights = dict(config.model_args), config.init.weights
    is_video = architecture_task(config.model) == "video_classification"
    if start and weights == "auto" and is_video:
        arguments["pretrained_backbone"] = True
    try:
        model: Any = create_model(config.model, num_classes=num_classes, **arguments)
    except OSError as error:  # of the Hub
        raise InputError(
            f"ImageNet weights cannot be had from the Hub ({' '.join(str(error).split())[:90]}...): start from a "
            "checkpoint by --init.weights FILE, or from nothing by --init.weights none"
        ) from error
    model.spec = describe(config, sets)
    if start and weights not in ("auto", "none"):
        log.info("%d tensors loaded from %s", init_weights(model, weights), weights)
    if config.system.grad_checkpointing:
        if not is_video:
            raise InputError("system.grad_checkpointing is for video models")
        model.backbone.set_grad_checkpointing(True)
    freeze(model, config.optim.freeze)
    freeze_batch_norms(model, config.optim.batch_norm)
    if config.system.sync_bn and distributed.world_size() > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    memory_format = torch.channels_last if isinstance(model.spec.input, VideoInput) else torch.preserve_format
    return model.to(device, memory_format=memory_format)


def _to(batch: Batch, device: torch.device) -> Batch:
    inputs, target = batch
    moved = tuple(tensor.to(device, non_blocking=True) for tensor in inputs)
    return moved, target.to(device, non_blocking=True)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT; a second one of a kind is no longer waited for."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def handle(number: int, frame: Any) -> None:
        received.append(number)
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():  # no other may
        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
