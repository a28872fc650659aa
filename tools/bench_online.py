"""Speed of the authors' online demo network, 224 x 224, one frame a step: in their loop, and in every runtime.

    tools/bench_online.py --authors mobilenet_v2_tsm.py --out model_cards/results/online_cpu

All of them run in turn, each with its own state, and the figures are medians. The authors' loop is that of their file
``online_demo/mobilenet_v2_tsm.py`` (https://github.com/mit-han-lab/temporal-shift-module) in eager PyTorch, which is
not part of the zoo; without it the zoo's own model stands in, with its reference operators and its batch norms.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.bench.machine import machine
from zoo.bench.peers import load_module
from zoo.bench.tables import write_tables
from zoo.bench.timing import interleave, medians
from zoo.cli import exit_code
from zoo.create import create_model
from zoo.errors import ZooError
from zoo.export.optimize import optimize
from zoo.ops import reference
from zoo.ops.backends import computed_by

NETWORK = "tsm_mobilenetv2_online"
SIZE = 224
CLASSES = 27  # of Jester, which the authors' network tells apart
RUNS = ("eager:fp32", "compile:fp32", "onnxruntime:fp32", "openvino:fp32", "openvino:bf16", "onnxruntime:int8")
RUNS += ("openvino:int8", "eager:int8")
CALIBRATION_STEPS = 8
TARGETS = {"fp32": 4, "bf16": 6, "int8": 8}  # times the authors' loop

Step = Callable[[], object]


def main() -> int:
    """Measure, print and write; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--authors", type=Path, metavar="FILE.py", help="the authors' mobilenet_v2_tsm.py")
    parser.add_argument("--runs", nargs="+", default=RUNS, metavar="RUNTIME:PRECISION")
    parser.add_argument("--steps", type=int, default=60, help="that are timed of each (default: 60)")
    parser.add_argument("--out", type=Path, help="the table, without a suffix")
    options = parser.parse_args()
    return exit_code(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> None:
    torch.manual_seed(0)
    model: Any = create_model(NETWORK, num_classes=CLASSES).eval()
    frame, clip = torch.randn(1, 3, SIZE, SIZE), torch.randn(1, CALIBRATION_STEPS, 3, SIZE, SIZE)
    steps = {"the authors' loop": _authors(options.authors, frame)} if options.authors else {}
    steps["the zoo's model as it is, reference operators"] = _with_reference(_stepper(model, frame))
    baseline = next(iter(steps))
    precisions = dict.fromkeys(steps, "fp32")
    for name in options.runs:
        runtime, _, precision = name.partition(":")
        try:
            fast = optimize(model, frame, runtime, precision, calibration=[clip])  # type: ignore[arg-type]
        except ZooError as error:
            print(f"{name}: not measured: {error}", flush=True)
            continue
        steps[name], precisions[name] = _stepper(fast, frame), fast.precision
    with torch.inference_mode():
        times = interleave(steps, options.steps)
    found = medians(times)
    rows = [
        {
            "what": name,
            "computed in": precisions[name],
            "ms a step": f"{found[name]:.2f}",
            "least": f"{min(times[name]):.2f}",
            "times the baseline's speed": f"{found[baseline] / found[name]:.2f}",
            "target": "" if name not in options.runs else f"{TARGETS[precisions[name]]}",
        }
        for name in steps
    ]
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items() if value))
    if options.out:
        write_tables(f"Online MobileNetV2, {SIZE} x {SIZE}, one frame a step", rows, machine(), options.out)


def _stepper(model: Any, frame: Tensor) -> Step:
    """One more frame for a model that keeps its state."""
    state = model.initial_state(1, SIZE)

    def step() -> None:
        nonlocal state
        _, state = model.step(frame, state)

    return step


def _authors(path: Path, frame: Tensor) -> Step:
    """One more frame for the authors' network, with the state that their file begins with."""
    network = load_module(path).MobileNetV2(n_class=CLASSES).eval()
    state: list[Tensor] = _stepped_state()

    def step() -> None:
        nonlocal state
        _, *state = network(frame, *state)

    return step


def _stepped_state() -> list[Tensor]:
    """Zeros of the shapes of the state, which are the same in the zoo."""
    return list(create_model(NETWORK, num_classes=CLASSES).initial_state(1, SIZE))


def _with_reference(step: Step) -> Step:
    def run() -> None:
        with computed_by(reference):
            step()

    return run


if __name__ == "__main__":
    sys.exit(main())
