"""Speed of the authors' online demo network, 224 x 224, one frame a step: in their loop, and in every runtime.

    tools/bench_online.py --authors mobilenet_v2_tsm.py --out model_cards/results/online_cpu

All of them run in turn, each with its own state, and the figures are medians. On a machine that others use as well,
``--clock cpu --threads 1`` counts the processor's time in place of the clock on the wall. The authors' loop is their
``online_demo/mobilenet_v2_tsm.py`` (https://github.com/mit-han-lab/temporal-shift-module) in eager PyTorch, which is
not part of the zoo; without it the zoo's own model stands in, with its reference operators and its batch norms.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.bench.machine import machine
from zoo.bench.peers import load_module
from zoo.bench.tables import write_tables
from zoo.bench.timing import CLOCKS, interleave
from zoo.cli import exit_code
from zoo.create import create_model, create_transform
from zoo.data.fingertip import GestureRenderer
from zoo.errors import ZooError
from zoo.export.optimize import optimize
from zoo.ops import reference
from zoo.ops.backends import computed_by

NETWORK = "tsm_mobilenetv2_online.fingertip"
SIZE = 224
RUNS = (
    *("eager:fp32", "compile:fp32", "onnxruntime:fp32", "openvino:fp32"),
    *("eager:bf16", "openvino:bf16", "eager:int8", "onnxruntime:int8", "openvino:int8"),
)
CLIPS, STEPS = 4, 4  # of the calibration set

Step = Callable[[], object]


def main() -> int:
    """Measure, print and write; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--authors", type=Path, metavar="FILE.py", help="the authors' mobilenet_v2_tsm.py")
    parser.add_argument("--runs", nargs="+", default=RUNS, metavar="RUNTIME:PRECISION")
    parser.add_argument("--steps", type=int, default=60, help="that are timed of each (default: 60)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: all cores)")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="(default: wall)")
    parser.add_argument("--out", type=Path, help="the table, without a suffix")
    options = parser.parse_args()
    return exit_code(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    model: Any = create_model(NETWORK, pretrained=True).eval()
    clips = _clips(model)
    frame = clips[0][:, 0]
    steps = {"the authors' loop": _authors(options.authors, model, frame)} if options.authors else {}
    steps["the zoo's model as it is, reference operators"] = _with_reference(_stepper(model, frame))
    baseline = next(iter(steps))
    precisions = dict.fromkeys(steps, "fp32")
    for name in options.runs:
        runtime, _, precision = name.partition(":")
        try:
            fast = optimize(model, frame, runtime, precision, calibration=clips)
        except ZooError as error:
            print(f"{name}: not measured: {error}", flush=True)
            continue
        steps[name], precisions[name] = _stepper(fast, frame), fast.precision
        print(f"{name}: ready after {fast.prepare_seconds:.0f} s", flush=True)
    with torch.inference_mode():
        times = interleave(steps, options.steps, clock=CLOCKS[options.clock])
    found = {name: statistics.median(values) for name, values in times.items()}
    rows = [
        {
            "what": name,
            "computed in": precisions[name],
            "ms a step": f"{found[name]:.2f}",
            "least": f"{min(times[name]):.2f}",
            "times the baseline's speed": f"{found[baseline] / found[name]:.2f}",
        }
        for name in steps
    ]
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items() if value))
    if options.out:
        about = machine() | {"threads": str(options.threads), "clock read": options.clock}
        write_tables(f"Online MobileNetV2, {SIZE} x {SIZE}, one frame a step", rows, about, options.out)


def _clips(model: Any) -> list[Tensor]:
    """Drawn circles as the network takes them, [1, T, 3, H, W]."""
    angles = np.linspace(0, 2 * np.pi, STEPS)
    track = np.stack([np.cos(angles), np.sin(angles)], axis=1) / 5
    own: Any = create_transform(model)
    transform = dataclasses.replace(own, resize_size=SIZE, crop_size=SIZE)
    draw, rng = GestureRenderer(SIZE), np.random.default_rng(0)
    return [transform(torch.from_numpy(draw(track, rng)).permute(0, 3, 1, 2))[None] for _ in range(CLIPS)]


def _stepper(model: Any, frame: Tensor) -> Step:
    """One more frame for a model that keeps its state."""
    state = model.initial_state(1, SIZE)

    def step() -> None:
        nonlocal state
        _, state = model.step(frame, state)

    return step


def _authors(path: Path, model: Any, frame: Tensor) -> Step:
    """One more frame for the authors' network, with a state of the shapes that the zoo's has."""
    network = load_module(path).MobileNetV2(n_class=model.num_classes).eval()
    state = model.initial_state(1, SIZE)

    def step() -> None:
        nonlocal state
        _, *state = network(frame, *state)

    return step


def _with_reference(step: Step) -> Step:
    def run() -> None:
        with computed_by(reference):
            step()

    return run


if __name__ == "__main__":
    sys.exit(main())
