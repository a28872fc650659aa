"""The training loop."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import signal
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from zoo.data.bad_files import BadFile, BadFiles, GuardedDataset
from zoo.data.shards import FetchAhead
from zoo.engine import distributed
from zoo.engine.changes import FIXED, changed_keys
from zoo.engine.checkpoint import (
    Progress,
    holds_run,
    newest_checkpoint,
    optimizer_state,
    restore_optimizer,
    save_checkpoint,
)
from zoo.engine.compression import create_exchange
from zoo.engine.config import TrainConfig
from zoo.engine.data import Sets, make_loader, open_sets, transforms
from zoo.engine.journal import Journal, Steps, speak, writing
from zoo.engine.losses import create_loss
from zoo.engine.mixing import create_mixing
from zoo.engine.nested import map_tensors
from zoo.engine.networks import MutualNetworks, create_network
from zoo.engine.optim import (
    create_optimizer,
    first_statistics,
    learning_rate,
    moving_average,
    set_learning_rate,
    train_mode,
)
from zoo.engine.order import Key, Prepared, Samples, Schedule, seed_of, share_of
from zoo.engine.scores import create_scores, evaluate
from zoo.engine.signals import STOPPING, Stopped, outlast_signals
from zoo.errors import InputError
from zoo.registry import architecture_task
from zoo.signals import collect_signals

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
TINY = 1e-12  # instead of the weight of a step in which nothing is judged

log = logging.getLogger("zoo.train")


def train(config: TrainConfig, sets: Sets | None = None) -> Path:
    """Train a model and keep what it learnt.

    The folder ``config.out`` gets config.yaml, log.txt, metrics.csv (a row an epoch), curves.png, and checkpoints:
    ``best``, ``last``, and every k-th if that is wanted. Each is a folder that ``zoo.load("local-dir:...")`` takes.

    Args:
        config: of the run.
        sets: data sets of one's own instead of those that ``config.data`` names; it still says how they are loaded.

    Returns:
        The folder of the best checkpoint.

    Raises:
        InputError: the data cannot be read, or a value of the configuration does not fit the others.
        Stopped: SIGTERM or SIGINT came.
    """
    device = distributed.local_device(config.system.device)
    with distributed.joined(device):
        return Run(config, sets, device).train()


class Run:
    """A run: what is trained, and where it is."""

    def __init__(self, config: TrainConfig, sets: Sets | None, device: torch.device):
        self.config, self.device, self.out = config, device, Path(config.out)
        self.rank, self.world_size = distributed.rank(), distributed.world_size()
        if config.system.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which torch asks for
        torch.use_deterministic_algorithms(config.system.deterministic)
        if config.system.amp == "fp16" and device.type != "cuda":
            raise InputError("system.amp fp16 is for GPUs: take bf16 on a CPU")
        torch.manual_seed(seed_of(config.seed))
        speak(self.rank == 0)
        sets = sets or open_sets(config.data, config.model)
        found = newest_checkpoint(self.out) if config.resume == "auto" else None
        if not found and holds_run(self.out):
            raise InputError(f"{self.out} holds a run: go on with it by --resume auto, or name another folder in --out")
        state, self.progress = found or ({}, Progress())
        distributed.wait_for_all()  # all have looked before one writes
        with writing(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            self.journal = Journal(config, self.rank == 0, self.progress.epoch, self.progress.step)
        networks = [create_network(config, sets, device, start=not state) for _ in range(config.optim.mutual)]
        self.model = networks[0]  # which is measured and kept
        self.learner: nn.Module = MutualNetworks(networks) if len(networks) > 1 else self.model
        varied, plain = transforms(self.model, sets, config.data.augment)
        policy = config.data.bad_files
        samples = self._samples(sets.train, varied, resample=policy == "resample")
        self.bad_files = self._bad_files("bad_files", samples)
        self.fetch_ahead = FetchAhead(getattr(sets.train, "shard_of", lambda index: None))
        self.schedule = Schedule(
            len(samples),
            config.batch_size,
            config.epochs,
            config.seed,
            self.progress.step,
            self.rank,
            self.world_size,
            config.optim.accumulate,
            getattr(sets.train, "shard_sizes", ()),
            self.fetch_ahead,
        )
        if not all(distributed.is_same_for_all(number, device) for number in (len(samples), self.progress.step)):
            raise InputError("processes see other data or checkpoints: give folders that all machines share")
        self.val: Samples | None = None
        if sets.val is not None:  # where every sample counts once
            self.val = self._samples(sets.val, plain, resample=False)
            self.bad_val_files = self._bad_files("bad_val_files", self.val)

        self.optimizer = create_optimizer(networks, config.optim, config.batch_size)
        self.exchange = create_exchange(
            config, self.optimizer, self.progress.step, self.schedule.num_steps, self.world_size
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.system.amp == "fp16")
        self.averaged: Any = None
        if config.optim.ema:
            self.averaged = AveragedModel(self.model, multi_avg_fn=moving_average(config.optim.ema), use_buffers=True)
        self.totals = torch.zeros(2, dtype=torch.float64)  # of the epoch: the loss and its weight
        if state:
            self._restore(state)
        self.journal.begin()
        self.network: Any = torch.compile(self.learner) if config.system.compile else self.learner
        if self.world_size > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.network = DistributedDataParallel(self.network, device_ids=ids, bucket_cap_mb=self.exchange.bucket_mb)
            self.network.register_comm_hook(self.exchange, type(self.exchange).send)
        task = architecture_task(config.model)
        self.mix = create_mixing(config.optim, task, self.model.num_classes)
        self.loss = create_loss(config.optim, task, self.model, device)
        self.scores = create_scores(task, self.model.num_classes)
        self.parameters = [parameter for parameter in self.learner.parameters() if parameter.requires_grad]
        self.batches: Any = iter(self._loader(samples, self.schedule))

    def _samples(self, dataset: Any, transform: Any, resample: bool) -> Samples:
        """``dataset`` with its preprocessing; files that cannot be read are guarded against."""
        prepared = Prepared(dataset, transform)
        path_of, timeout = getattr(dataset, "path_of", str), self.config.data.timeout or None
        guarded = GuardedDataset(prepared, "resample" if resample else "skip", path_of, timeout)
        return Samples(guarded, self.config.seed)

    def _bad_files(self, name: str, samples: Samples) -> BadFiles:
        """The list of those of ``samples`` that cannot be read."""
        limit = {"limit": 0.0} if self.config.data.bad_files == "raise" else {}
        return BadFiles(self.out / f"{name}.txt", len(samples), writes=self.rank == 0, **limit)

    def _loader(self, samples: Samples, keys: Iterable[list[Key]]) -> Any:
        loader = make_loader(samples, keys, self.config.data.workers, self.device)
        loader.worker_init_fn = outlast_signals
        return loader

    def train(self) -> Path:
        """Train to the last epoch; returns the folder of the best checkpoint."""
        if self.progress.epoch >= self.config.epochs:
            log.info("nothing left to do: all %d epochs are done", self.config.epochs)
        elif self.progress.step:
            log.info("going on after step %d of %d", self.progress.step, self.schedule.num_steps)
        else:
            log.info(
                "%d samples to learn %d classes from, %s; %d epochs of %d steps",
                self.schedule.num_samples,
                self.model.num_classes,
                f"{len(self.val)} to choose the best epoch by" if self.val else "none to choose the best epoch by",
                self.config.epochs,
                self.schedule.steps_per_epoch,
            )
        try:
            with collect_signals(STOPPING if self.rank == 0 else "") as received:
                while self.progress.epoch < self.config.epochs:
                    self._epoch(received)
            self.fetch_ahead.close()
        finally:
            self.batches = None  # which ends the processes that load data, whatever holds this run
        return self.out / "best"

    def _epoch(self, received: list[int]) -> None:
        started = time.perf_counter()
        per_epoch = self.schedule.steps_per_epoch
        done = self.progress.step - self.progress.epoch * per_epoch
        steps = Steps(self.progress.epoch + 1, per_epoch, done, self.config.batch_size, self.rank == 0)
        train_mode(self.learner)
        while steps.done < per_epoch:
            with contextlib.nullcontext() if self.progress.step else first_statistics(self.learner):
                stop = self.step(steps, bool(received))
            if stop:
                self._save("last")
                raise Stopped(received[0] if received else signal.SIGTERM, self.progress.step)
            every = self.config.save_steps
            if every and self.progress.step % every == 0 and steps.done < per_epoch:
                self._save("last")
        steps.close()
        self._save("last")  # measuring may take long, and what ends it should not cost the epoch
        self.progress.epoch += 1
        loss = (self.totals[0] / self.totals[1]).item()
        self.totals.zero_()
        figures: dict[str, Any] = {"epoch": self.progress.epoch, "loss": round(loss, 5)}
        score = float(self.progress.epoch)
        if self.val is not None:
            measured = {name: round(value, 5) for name, value in self._measure(self.val).items()}
            figures |= measured
            score = list(measured.values())[-1]
            if not math.isfinite(score):
                raise InputError(f"the score of the validation part is {score}: it needs a labelled sample at least")
        if self.world_size > 1:
            figures["bytes_sent"] = round(self.exchange.bytes_sent / max(steps.done - done, 1))  # a step
            self.exchange.bytes_sent = 0
        figures |= {"seconds": round(time.perf_counter() - started, 1)}
        log.info("epoch %d: %s", self.progress.epoch, ", ".join(" ".join(item) for item in steps.speed().items()))
        self.journal.epoch(figures, self.progress.step)  # before checkpoints: what they do not know is written anew
        if self.progress.best is None or score >= self.progress.best:  # of equals, what learnt for longer
            self.progress.best = score
            self._save("best")
        if self.config.keep_every and self.progress.epoch % self.config.keep_every == 0:
            self._save(f"epoch-{self.progress.epoch:04d}")
        self._save("last")

    def step(self, steps: Steps, stop: bool) -> bool:
        """Learn from one batch of samples; returns whether a process was asked to stop."""
        config, optim = self.config, self.config.optim
        rate = learning_rate(optim, self.progress.step, self.schedule.num_steps)
        set_learning_rate(self.optimizer, rate)
        torch.manual_seed(seed_of(config.seed, self.progress.step, self.rank, 1))  # of dropout and mixing
        self.optimizer.zero_grad()
        bad: list[BadFile] = []
        sums = torch.zeros(4, dtype=torch.float64, device=self.device)  # loss, its weight, whether to stop, bad files
        sums[2] = stop
        for part in range(optim.accumulate):
            inputs, target = self.mix(*self._next_batch(steps, bad))
            last = part + 1 == optim.accumulate
            with contextlib.nullcontext() if last or self.world_size == 1 else self.network.no_sync():
                loss, weight = self.loss(map_tensors(Tensor.float, self._outputs(inputs)), target)
                sums[:2] += torch.stack([loss.detach(), weight])
                if last:
                    sums[3] = len(bad)
                    loss = loss * self._scale_to_mean(sums)
                self.scaler.scale(loss).backward()
        loss_sum, weight_sum, stops, num_bad = sums.tolist()
        if num_bad:
            self.bad_files.add(distributed.gather(bad))
        if not math.isfinite(loss_sum):
            raise InputError(f"the loss is not finite in step {self.progress.step + 1}: lower optim.lr")
        self.scaler.unscale_(self.optimizer)
        if optim.grad_clip and not self.exchange.clips:
            nn.utils.clip_grad_norm_(self.parameters, optim.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        self.totals += torch.tensor([loss_sum, weight_sum], dtype=torch.float64)
        self.progress.step += 1
        steps.step(loss_sum / max(weight_sum, TINY), rate)
        return stops > 0

    def _next_batch(self, steps: Steps, bad: list[BadFile]) -> Any:
        """The inputs of the network and the target, on its device; files that cannot be read go to ``bad``."""
        batch, met = steps.waiting(self.batches)
        bad += met
        if batch is None or (met and not self.bad_files.limit):
            self.bad_files.add(bad)
            raise InputError(f"no file of a whole batch can be read: {met[0].path} ({met[0].reason}) and the others")
        return map_tensors(lambda tensor: tensor.to(self.device, non_blocking=True), batch)

    def _outputs(self, inputs: tuple[Tensor, ...]) -> Any:
        """What the network gives."""
        try:
            with self._autocast():
                return self.network(*inputs)
        except ValueError as error:
            if len(inputs[0]) > 1 or "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                "one sample alone has no statistics for batch normalisation: raise batch_size, lower optim.accumulate, "
                "or take optim.batch_norm frozen"
            ) from error

    def _scale_to_mean(self, sums: Tensor) -> Tensor:
        """By what the last loss of a step is multiplied so that gradients become those of the mean over all samples.

        ``sums`` becomes those of all processes. The gradients of the parts before are scaled here; processes average.
        """
        scale = (self.world_size / distributed.sum_over_all(sums)[1].clamp(min=TINY)).float()
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(scale)
        return scale

    def _measure(self, samples: Samples) -> dict[str, float]:
        """The figures of the model on ``samples``, each of which one process looks at."""
        keys = share_of(len(samples), self.rank, self.world_size)
        size = max(1, self.config.batch_size // (self.world_size * self.config.optim.accumulate))
        batches = [keys[begin : begin + size] for begin in range(0, len(keys), size)]
        model = self._published()
        distributed.share_buffers(model)  # as they are kept
        torch.manual_seed(seed_of(self.config.seed, self.progress.step, self.rank, 2))  # of points that a model draws
        bad: list[BadFile] = []
        with contextlib.closing(self._readable(self._loader(samples, batches), bad)) as readable:
            counts = evaluate(model, readable, self.scores, self._autocast)
        self.bad_val_files.add(distributed.gather(bad))
        return self.scores.figures(distributed.sum_over_all(counts.to(self.device)).cpu())

    def _readable(self, loader: Any, bad: list[BadFile]) -> Generator[Any]:
        """The batches of ``loader`` of which anything can be read; files of which nothing can go to ``bad``."""
        for batch, met in loader:
            bad += met
            if met and not self.bad_val_files.limit:
                self.bad_val_files.add(bad)
            if batch is not None:
                yield batch

    def _published(self) -> nn.Module:
        """The model whose weights are kept: the moving average, where there is one."""
        return self.model if self.averaged is None else self.averaged.module

    def _autocast(self) -> Any:
        dtype = AMP.get(self.config.system.amp)
        return torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext()

    def _save(self, name: str) -> None:
        exchange = self.exchange.state()
        if self.rank == 0:
            state: dict[str, Any] = {
                "exchange": exchange,
                "optimizer": optimizer_state(self.optimizer),
                "scaler": self.scaler.state_dict(),
                "totals": self.totals,
                "steps_per_epoch": self.schedule.steps_per_epoch,
            }
            if self.averaged is not None:
                state["averages"] = int(self.averaged.n_averaged)
            if self._published() is not self.learner:
                state["model"] = self.learner.state_dict()
            published: Any = self._published()
            published.spec = self.model.spec
            save_checkpoint(self.out / name, published, state, self.progress, dataclasses.asdict(self.config))
        distributed.wait_for_all()

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; what is another in the configuration is said, or refused where steps would not fit."""
        changed, per_epoch = changed_keys(state["config"], self.config), self.schedule.steps_per_epoch
        if state["steps_per_epoch"] != per_epoch:
            raise InputError(
                f"an epoch of the run in {self.out} had {state['steps_per_epoch']} steps and now has {per_epoch} "
                f"(changed: {', '.join(changed) or 'the data'}): go on as it was, or name another folder in --out"
            )
        if fixed := [key for key in changed if key in FIXED]:
            raise InputError(
                f"the optimizer of the run in {self.out} does not go on with another {', '.join(fixed)}: "
                "go on as it was, or name another folder in --out"
            )
        if changed:
            log.warning("the run goes on with other settings than before: %s", ", ".join(changed))
        try:
            self.learner.load_state_dict(state["model"])
        except RuntimeError as error:
            raise InputError(f"the run in {self.out} is of another model: name another folder in --out") from error
        restore_optimizer(self.optimizer, state["optimizer"])
        self.exchange.restore(state["exchange"])
        self.scaler.load_state_dict(state["scaler"])
        self.totals = state["totals"]
        if self.averaged is not None and "averages" in state:  # else it begins here
            self.averaged.module.load_state_dict(state["published"])
            self.averaged.n_averaged.fill_(state["averages"])
