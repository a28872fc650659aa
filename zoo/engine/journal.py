"""What a run leaves to read: its configuration, a log, a table of figures and, where the packages are, their curves."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import importlib.util
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from tqdm import tqdm

from zoo.data.outputs import replacing
from zoo.engine.config import TrainConfig
from zoo.errors import InputError

LOG_EVERY = 50  # steps, where there is no terminal for a progress bar
SAY_EVERY_S = 30.0  # seconds of a measurement, likewise

Item = TypeVar("Item")
log = logging.getLogger("zoo.train")


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """What is done here writes into the run's folder ``out``.

    Raises:
        InputError: it cannot.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}): make room, or name another in --out") from error


class Journal:
    """Writes to the run's folder, if this is the process that speaks; the others' are silent.

    Args:
        config: of the run.
        speaks: whether this process does.
        first_epoch: epochs done before; what was written of later ones is taken away.
        first_step: steps done before.
    """

    def __init__(self, config: TrainConfig, speaks: bool, first_epoch: int = 0, first_step: int = 0):
        self.first_step = first_step
        self.out, self.speaks = Path(config.out), speaks
        self._rows: list[dict[str, str]] = []
        self._board: Any = None
        if not speaks:
            return
        self.config = config
        _log_to(logging.FileHandler(self.out / "log.txt"))
        table = self.out / "metrics.csv"
        if first_epoch and table.is_file():
            with open(table, newline="") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= first_epoch]

    def begin(self) -> None:
        """Write down the configuration, once it is clear that it fits the run.

        Raises:
            InputError: it cannot be written.
        """
        if not self.speaks:
            return
        with writing(self.out):
            with replacing(self.out / "config.yaml") as part:
                part.write_text(yaml.safe_dump(dataclasses.asdict(self.config), sort_keys=False))
            self._board = _tensorboard(self.out, self.first_step)
        if importlib.util.find_spec("matplotlib") is None:
            log.info("no learning curves are drawn without matplotlib: pip install 'efficient-recognition-zoo[plots]'")

    def epoch(self, figures: dict[str, Any], step: int) -> None:
        """Write down the figures of an epoch.

        Raises:
            InputError: they cannot be written.
        """
        if not self.speaks:
            return
        log.info("%s", ", ".join(f"{name} {value}" for name, value in figures.items()))
        with writing(self.out):
            self._write(figures, step)

    def _write(self, figures: dict[str, Any], step: int) -> None:
        self._rows.append({name: str(value) for name, value in figures.items()})
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        with replacing(self.out / "metrics.csv") as part, open(part, "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._rows)
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()
        draw_curves(self._rows, self.out / "curves.png")


class Steps:
    """The steps of an epoch, shown as a progress bar, or now and then as a line in the log.

    Args:
        epoch: counted from 1.
        total: steps of an epoch.
        done: steps of it done before.
        batch_size: samples a step.
        speaks: whether anything is shown.
    """

    def __init__(self, epoch: int, total: int, done: int, batch_size: int, speaks: bool):
        self.epoch, self.total, self.done, self.batch_size = epoch, total, done, batch_size
        self.bar = tqdm(
            total=total,
            initial=done,
            desc=f"epoch {epoch}",
            unit="step",
            leave=False,
            disable=not (speaks and sys.stderr.isatty()),
        )
        self.speaks = speaks
        self.started = time.perf_counter()
        self.first, self.waited = done, 0.0

    def waiting(self, batches: Iterator[Any]) -> Any:
        """The next of ``batches``; the time that it takes to come counts as waiting."""
        started = time.perf_counter()
        batch = next(batches)
        self.waited += time.perf_counter() - started
        return batch

    def step(self, loss: float, rate: float) -> None:
        """One more step is done."""
        self.done += 1
        shown = {"loss": f"{loss:.4f}", "lr": f"{rate:.2e}", **self.speed()}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()
        if self.speaks and self.bar.disable and self.done % LOG_EVERY == 0:
            words = ", ".join(f"{name} {value}" for name, value in shown.items())
            log.info("epoch %d, step %d of %d: %s", self.epoch, self.done, self.total, words)

    def speed(self) -> dict[str, str]:
        """Samples a second, and the share of the time in which the network waited for data."""
        seconds = max(time.perf_counter() - self.started, 1e-9)
        samples = (self.done - self.first) * self.batch_size
        return {"samples/s": f"{samples / seconds:.1f}", "waiting": f"{self.waited / seconds:.0%}"}

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()


def progress(items: Iterable[Item], total: int, speaks: bool, units: str = "samples") -> Iterator[Item]:
    """The samples of a measurement, with a progress bar on a terminal, or a line on standard error now and then.

    Args:
        items: the samples.
        total: how many they are, at most.
        speaks: whether anything is shown.
        units: what they are called.
    """
    on_terminal = sys.stderr.isatty()
    said = started = time.perf_counter()
    with tqdm(total=total, unit=f" {units}", leave=False, disable=not (speaks and on_terminal)) as bar:
        for done, item in enumerate(items, start=1):
            yield item
            bar.update()
            now = time.perf_counter()
            if speaks and not on_terminal and now - said >= SAY_EVERY_S:
                said = now
                rate = done / (now - started)
                print(f"{done} of {total} {units}, {rate:.1f} a second", file=sys.stderr, flush=True)


def draw_curves(rows: list[dict[str, str]], path: Path) -> None:
    """Draw every column of ``rows`` over the epochs, if matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    names = [name for name in rows[-1] if name not in ("epoch", "seconds")]
    figure = Figure(figsize=(4 * len(names), 3), layout="constrained")
    for place, name in enumerate(names, start=1):
        points = [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
        axes = figure.add_subplot(1, len(names), place, title=name, xlabel="epoch")
        axes.plot(*zip(*points, strict=True), marker=".")
        axes.grid(alpha=0.3)
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=110)


def speak(aloud: bool) -> None:
    """Say what happens anywhere in the zoo on standard error, or nothing at all."""
    everything = logging.getLogger("zoo")
    everything.setLevel(logging.INFO)
    for handler in list(everything.handlers):  # of a run before
        everything.removeHandler(handler)
        handler.close()
    _log_to(logging.StreamHandler() if aloud else logging.NullHandler())


def _log_to(handler: logging.Handler) -> None:
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger("zoo").addHandler(handler)


def _tensorboard(out: Path, first_step: int) -> Any:
    """A writer of TensorBoard's events, if that is installed; what was written of later steps is no longer shown."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out / "tensorboard"), purge_step=first_step + 1)
