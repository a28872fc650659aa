"""What the training loop costs over a bare forward, backward and step: tools/bench_train.py --model tsm_mobilenetv2."""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from zoo.cli import exit_code
from zoo.engine.config import DataConfig, InitConfig, OptimConfig, TrainConfig
from zoo.engine.data import Sets
from zoo.engine.journal import Steps
from zoo.engine.train import Run
from zoo.weights import VideoInput

CLASSES = ("first", "second")


class Clips(Dataset[tuple[Tensor, Tensor]]):
    """Clips of noise in memory."""

    def __init__(self, count: int, num_frames: int, side: int):
        self.frames = torch.randint(0, 256, (num_frames, 3, side, side), dtype=torch.uint8)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.frames, torch.tensor(index % len(CLASSES))


def measure(options: argparse.Namespace, folder: str) -> None:
    """Alternate steps of the loop with bare ones, on the same samples with the same optimiser."""
    sets = Sets(
        Clips(options.batch_size * (options.runs + 2), options.num_frames, options.image_size),
        None,
        CLASSES,
        VideoInput(options.num_frames, options.image_size, options.image_size, "squash"),
    )
    config = TrainConfig(
        options.model,
        DataConfig("videos"),
        init=InitConfig("none"),
        optim=OptimConfig("sgd", lr=1e-3, grad_clip=0),
        out=folder,
        epochs=1,
        batch_size=options.batch_size,
    )
    run = Run(config, sets, torch.device("cpu"))
    steps = Steps(1, options.runs + 2, 0, options.batch_size, speaks=False)
    bare = copy.deepcopy(run.model)
    optimizer = torch.optim.SGD(bare.parameters(), lr=1e-3, momentum=0.9, weight_decay=config.optim.weight_decay)
    clips = torch.randn(options.batch_size, options.num_frames, 3, options.image_size, options.image_size)
    labels = torch.arange(options.batch_size) % len(CLASSES)
    loop_times, bare_times = [], []
    run.model.train()
    bare.train()
    for _ in range(options.runs + 2):
        waited = steps.waited
        started = time.perf_counter()
        run.step(steps, stop=False)
        loop_times.append(time.perf_counter() - started - (steps.waited - waited))
        started = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(bare(clips), labels).backward()
        optimizer.step()
        bare_times.append(time.perf_counter() - started)
    ratios = [loop / alone for loop, alone in zip(loop_times[2:], bare_times[2:], strict=True)]
    print(
        f"{options.model}, batch {options.batch_size}, {options.num_frames} frames of {options.image_size} pixels, "
        f"{torch.get_num_threads()} threads, {options.runs} pairs of steps:"
    )
    print(f"  loop {median(loop_times[2:]) * 1e3:.1f} ms a step without waiting for data, bare", end=" ")
    print(f"{median(bare_times[2:]) * 1e3:.1f} ms; median of the ratios {median(ratios):.3f}")


def main() -> int:
    """Measure; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tsm_mobilenetv2", help="a video model (default: tsm_mobilenetv2)")
    parser.add_argument("--runs", type=int, default=20, help="pairs of steps (default: 20)")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--num-frames", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=112, help="in pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return exit_code(lambda: measure(options, folder))


if __name__ == "__main__":
    sys.exit(main())
