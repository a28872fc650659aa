"""What the temporal shift costs whole networks: tools/bench_shift.py --out model_cards/results.

TSN is the network without a shift; "slices" is TSM that assigns slices, as the authors do, and TSM is this package's.
They run in turn. "eager" is what ``zoo.optimize`` runs of each in PyTorch itself, "training" a step of SGD. ``ratio``
is the median over rounds of the time as a share of TSN's in the same round, ``spread`` half the range of its middle
half, and ``of least`` the share of the shortest times, which other programs disturbed the least. ``MB`` is the most
that a process of its own holds during a step beyond what it held before. On a CPU TSN and TSM on a MobileNetV2 are one
operator in "eager", which knows no slices: that row is computed layer by layer.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo
from zoo.bench.machine import machine
from zoo.bench.memory import apart, most_above
from zoo.bench.peers import shift_by_slices
from zoo.bench.tables import write_tables
from zoo.bench.timing import CLOCKS, Call, interleave, peak_memory
from zoo.cli import exit_code
from zoo.errors import InputError
from zoo.export import fast_copy
from zoo.layers.replace import replace_modules
from zoo.layers.temporal_shift import TemporalShift

NETWORKS = ("resnet50", "mobilenetv2")
MODES = ("eager", "training")
WAYS = ("TSN", "slices", "TSM")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FRAMES, SIDE = 8, 224


class ShiftBySlices(TemporalShift):
    """The shift as the authors' code has it."""

    def on_clips(self, x: Tensor) -> Tensor:
        """See there."""
        return self.net(shift_by_slices(x, self.context.num_frames, self.shift_div))


def create(network: str, way: str) -> nn.Module:
    """A network in one of the ways."""
    torch.manual_seed(0)
    model: nn.Module = zoo.create_model(f"{'tsn' if way == 'TSN' else 'tsm'}_{network}")
    if way == "slices":
        replace_modules(model, _by_slices)
    return model


def _by_slices(module: nn.Module) -> nn.Module | None:
    if type(module) is not TemporalShift:
        return None
    return ShiftBySlices(module.net, module.context, module.index, module.shift_div, module.direction)


def call_of(network: str, way: str, mode: str, options: argparse.Namespace) -> Call:
    """What is timed: a forward pass of what is optimised, or a step of training."""
    clip = torch.rand(options.batch, FRAMES, 3, SIDE, SIDE, device=options.device)
    model: nn.Module = create(network, way).to(torch.device(options.device))
    model.to(memory_format=torch.channels_last)
    dtype = DTYPES[options.precision]
    if mode == "eager" and options.device == "cpu" and options.precision != "fp16":
        optimized = zoo.optimize(model, clip, "eager", options.precision)
        return lambda: optimized(clip)
    if mode == "eager":
        fast, clip = fast_copy(model, clip).to(dtype), clip.to(dtype)
        return torch.inference_mode()(lambda: fast(clip))
    optimizer = torch.optim.SGD(model.train().parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(options.device, dtype, enabled=dtype != torch.float32):
            loss = model(clip).square().mean()
        loss.backward()
        optimizer.step()

    return step


def rows_of(network: str, mode: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each way."""
    calls = {way: call_of(network, way, mode, options) for way in WAYS}
    times = interleave(calls, options.runs, options.device, CLOCKS[options.clock])
    rows = []
    for way, milliseconds in times.items():
        ratios = [ms / base for ms, base in zip(milliseconds, times["TSN"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        row = {"network": network, "mode": mode, "name": way}
        row |= {"ms": f"{statistics.median(milliseconds):.4g}", "ratio": f"{statistics.median(ratios):.3f}"}
        row |= {"spread": f"{(high - low) / 2:.3f}", "of least": f"{min(milliseconds) / min(times['TSN']):.3f}"}
        if mode == "training":
            row["MB"] = f"{apart(step_mb, network, way, options):.0f}"
        rows.append(row)
    return rows


def step_mb(network: str, way: str, options: argparse.Namespace) -> float:
    """Megabytes that a step of training takes at most."""
    call = call_of(network, way, "training", options)
    return peak_memory(call) if options.device == "cuda" else most_above(call)


def main() -> int:
    """Run the benchmark; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=list(DTYPES), default="fp32", help="training: by autocast")
    parser.add_argument("--batch", type=int, default=1, help="clips of 8 frames at a time (default: 1)")
    parser.add_argument("--runs", type=int, default=20, help="rounds (default: 20)")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: of all threads, on a busy machine")
    parser.add_argument("--networks", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--modes", choices=MODES, nargs="+", default=list(MODES))
    parser.add_argument(
        "--out",
        type=Path,
        help="a folder for shift_MODE_DEVICE.csv and .md, with precision and batch in the name where unusual",
    )
    options = parser.parse_args()
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Time what was asked for, print it and write it down."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no GPU: leave out --device cuda")
    about = machine(options.device) | {"precision": options.precision, "rounds": str(options.runs)}
    about |= {"clips": f"{options.batch} x {FRAMES} x {SIDE} x {SIDE}", "time": options.clock}
    for mode in options.modes:
        rows = []
        for network in options.networks:
            for row in rows_of(network, mode, options):
                print("  ".join(f"{value:<12}" for value in row.values()), flush=True)
                rows.append(row)
        if options.out:
            suffix = "" if options.precision == "fp32" else f"_{options.precision}"
            suffix += "" if options.batch == 1 else f"_batch{options.batch}"
            name = f"shift_{mode}_{options.device}{suffix}"
            write_tables(f"The cost of the temporal shift, {mode}", rows, about, options.out / name)


if __name__ == "__main__":
    sys.exit(main())
