"""What the temporal shift costs whole networks: tools/bench_shift.py --out model_cards/results.

TSN, which is the same network without a shift, and TSM in three ways run in turn: "slices" assigns slices as the authors
do, "shift" calls the compiled shift and then the convolution, "fused" is the convolution that shifts nothing. "eager" is
what ``zoo.optimize`` gives of each. ``ratio`` is the median over rounds of the time as a share of TSN's in the same round,
``spread`` half the range of its middle half. The memory of a training step, forward, backward and the optimiser's, is the
most that a process of its own held above what it held before.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo

from zoo.bench.peers import shift_by_slices
from zoo.bench.machine import machine
from zoo.bench.tables import write_tables
from zoo.bench.timing import Call, interleave
from zoo.cli import exit_code
from zoo.errors import InputError
from zoo.export import fast_copy
from zoo.layers.shifted_conv import use_shifted_convs
from zoo.layers.temporal_shift import TemporalShift

NETWORKS = ("resnet50", "mobilenetv2")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
MODES = ("inference", "eager", "training")
WAYS = ("TSN", "slices", "shift", "fused")
COLUMNS = ("network", "mode", "layout", "name", "ms", "ratio", "spread", "MB")


class ShiftBySlices(TemporalShift):
    """The shift as the authors' code has it."""

    def on_clips(self, x: Tensor) -> Tensor:
        """See there."""
        return self.net(shift_by_slices(x, self.context.num_frames, self.shift_div))


def make(network: str, way: str, mode: str, layout: str, device: str) -> nn.Module:
    """A network in one of the ways, ready for the mode."""
    torch.manual_seed(0)
    model: nn.Module = zoo.create_model(f"{'tsn' if way == 'TSN' else 'tsm'}_{network}")
    if way == "fused":
        use_shifted_convs(model)
    elif way == "slices":
        for name, module in list(model.named_modules()):
            if type(module) is TemporalShift:
                slices = ShiftBySlices(module.net, module.context, module.index, module.shift_div, module.direction)
                model.set_submodule(name, slices)
    model = model.to(device, memory_format=LAYOUTS[layout])
    return model.train() if mode == "training" else model.eval()


def call_of(model: nn.Module, mode: str, clip: Tensor) -> Call:
    """What is timed: a forward pass, or a step of training."""
    if mode != "training":
        return torch.inference_mode()(lambda: model(clip))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        model(clip).square().mean().backward()
        optimizer.step()

    return step


def calls_of(network: str, mode: str, layout: str, options: argparse.Namespace) -> dict[str, Call]:
    """All ways of a network, as what is timed."""
    clip = clip_of(options)
    models = {way: make(network, way, mode, layout, options.device) for way in WAYS}
    if mode == "eager":  # the compiled shift and the convolution that shifts nothing become the same
        del models["slices"], models["shift"]
        models = {way: fast_copy(model, clip) for way, model in models.items()}
    calls = {way: call_of(model, mode, clip) for way, model in models.items()}
    if options.dtype == "float32":
        return calls
    return {way: under_autocast(call, options) for way, call in calls.items()}


def under_autocast(call: Call, options: argparse.Namespace) -> Call:
    """The call with the convolutions in a narrower type."""
    autocast: Callable[[Call], Call] = torch.autocast(options.device, getattr(torch, options.dtype))
    return autocast(call)


def clip_of(options: argparse.Namespace) -> Tensor:
    """Clips of eight frames."""
    return torch.rand(options.batch, 8, 3, 224, 224, device=options.device)


def rows_of(network: str, mode: str, layout: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each way."""
    times = interleave(calls_of(network, mode, layout, options), options.runs, options.device)
    rows = []
    for way, milliseconds in times.items():
        ratios = [ms / base for ms, base in zip(milliseconds, times["TSN"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        row = {"network": network, "mode": mode, "layout": layout, "name": way}
        row |= {"ms": f"{statistics.median(milliseconds):.4g}", "ratio": f"{statistics.median(ratios):.3f}"}
        memory = peak_memory(network, way, layout, options) if mode == "training" else None
        row |= {"spread": f"{(high - low) / 2:.3f}", "MB": "" if memory is None else f"{memory:.4g}"}
        rows.append(row)
    return rows


def peak_memory(network: str, way: str, layout: str, options: argparse.Namespace) -> float:
    """Megabytes that a step takes at most, measured in a process of its own."""
    command = [sys.executable, __file__, "--memory", network, way, layout]
    command += ["--device", options.device, "--dtype", options.dtype, "--batch", str(options.batch)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"the memory of {network}, {way}, could not be measured: {done.stderr.strip()[-300:]}")
    return float(done.stdout)


def print_memory(options: argparse.Namespace) -> None:
    """Print the memory of a step of the network, the way and the layout that ``--memory`` names."""
    network, way, layout = options.memory
    step = call_of(make(network, way, "training", layout, options.device), "training", clip_of(options))
    if options.dtype != "float32":
        step = under_autocast(step, options)
    cuda = options.device == "cuda"
    before = torch.cuda.memory_allocated() / 1e6 if cuda else _resident("VmRSS")
    step()
    print((torch.cuda.max_memory_allocated() / 1e6 if cuda else _resident("VmHWM")) - before)


def _resident(what: str) -> float:
    """Megabytes that the process holds in memory, or held at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1e3


def main() -> int:
    """Run the benchmark; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32", help="by autocast")
    parser.add_argument("--batch", type=int, default=1, help="clips of 8 frames at a time (default: 1)")
    parser.add_argument("--runs", type=int, default=20, help="rounds (default: 20)")
    parser.add_argument("--networks", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--modes", choices=MODES, nargs="+", default=list(MODES))
    parser.add_argument("--layouts", choices=list(LAYOUTS), nargs="+", default=list(LAYOUTS))
    parser.add_argument("--out", type=Path, help="a folder for shift_DEVICE.csv and .md")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    return exit_code(lambda: print_memory(options) if options.memory else run(options))


def run(options: argparse.Namespace) -> None:
    """Time what was asked for, print it and write it down."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no GPU: leave out --device cuda")
    about = machine(options.device) | {"dtype": options.dtype, "clips": f"{options.batch} x 8 x 224 x 224"}
    about |= {"rounds": str(options.runs)}
    rows = []
    for network in options.networks:
        for mode in options.modes:
            for layout in options.layouts[: 1 if mode == "eager" else None]:  # which is always channels-last
                for row in rows_of(network, mode, "channels-last" if mode == "eager" else layout, options):
                    print("  ".join(f"{row[column]:<13}" for column in COLUMNS), flush=True)
                    rows.append(row)
    if options.out:
        write_tables("The cost of the temporal shift", rows, about, options.out / f"shift_{options.device}")


if __name__ == "__main__":
    sys.exit(main())
