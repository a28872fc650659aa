"""Speed of the authors' online demo network, 224 x 224, one frame a step: in their loop, and in every runtime.

    tools/bench_online.py --authors mobilenet_v2_tsm.py --out model_cards/results/online_cpu

Each has a process of its own, since the threads of one runtime would disturb another's; they run in turn, some frames
at a time, and the figures are medians. On a machine that others use as well, ``--clock cpu --threads 1`` counts the
processor's time in place of the clock on the wall. The authors' loop is their ``online_demo/mobilenet_v2_tsm.py``
(https://github.com/mit-han-lab/temporal-shift-module) in eager PyTorch, which is not part of the zoo; without it the
zoo's own model stands in, with its reference operators and its batch norms. Beside it their network is timed in ONNX
Runtime and OpenVINO, as PyTorch exports it. "auto" is what ``zoo.optimize`` takes by itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.bench.machine import machine
from zoo.bench.peers import load_module
from zoo.bench.tables import write_tables
from zoo.bench.timing import CLOCKS, interleave, medians
from zoo.cli import exit_code
from zoo.create import create_model, create_transform
from zoo.data.fingertip import GestureRenderer
from zoo.errors import InputError, ZooError
from zoo.export.optimize import optimize
from zoo.export.runtimes import Session, missing
from zoo.export.runtimes.onnxruntime import OnnxSession
from zoo.export.runtimes.openvino import OpenVINOSession, read
from zoo.ops import reference
from zoo.ops.backends import computed_by

NETWORK = "tsm_mobilenetv2_online.fingertip"
SIZE = 224
RUNS = (
    *("eager:fp32", "compile:fp32", "onnxruntime:fp32", "openvino:fp32", "auto:fp32"),
    *("eager:bf16", "openvino:bf16", "auto:bf16", "eager:int8", "onnxruntime:int8", "openvino:int8", "auto:int8"),
)
AUTHORS, AS_IT_IS = "the authors' loop", "the zoo's model as it is, reference operators"
AUTHORS_IN = {f"the authors' network in {runtime}": runtime for runtime in ("onnxruntime", "openvino")}
CLIPS, STEPS = 4, 4  # of the calibration set
FRAMES = 20  # that are timed at each turn

Step = Callable[[], object]
step: Step  # of this process, which serves one of the things that are compared


def main() -> int:
    """Measure, print and write; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--authors", type=Path, metavar="FILE.py", help="the authors' mobilenet_v2_tsm.py")
    parser.add_argument("--runs", nargs="+", default=RUNS, metavar="RUNTIME:PRECISION")
    parser.add_argument("--rounds", type=int, default=20, help=f"of {FRAMES} frames of each (default: 20)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: all cores)")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="(default: wall)")
    parser.add_argument("--out", type=Path, help="the table, without a suffix")
    options = parser.parse_args()
    return exit_code(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> None:
    if options.authors and not options.authors.is_file():
        raise InputError(f"{options.authors}: there is no such file; --authors names the authors' mobilenet_v2_tsm.py")
    names = [*([AUTHORS, *AUTHORS_IN] if options.authors else []), AS_IT_IS, *options.runs]
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for name in names
        }
        precisions = {}
        for name, process in processes.items():
            try:
                precisions[name] = process.submit(_prepare, name, options.authors, options.threads).result()
            except ZooError as error:
                print(f"{name}: not measured: {error}", flush=True)
        times: dict[str, list[float]] = {name: [] for name in precisions}
        for _ in range(options.rounds):
            for name in times:
                times[name].append(processes[name].submit(_frames, options.clock).result())
    if names[0] not in times:
        raise ZooError(f"{names[0]} could not be measured, and all else is compared with it")
    found = medians(times)
    baseline = found[names[0]]
    rows = [
        {
            "what": name,
            "computed in": precisions[name],
            "ms a step": f"{found[name]:.2f}",
            "least": f"{min(times[name]):.2f}",
            f"times the speed of {names[0]}": f"{baseline / found[name]:.2f}",
        }
        for name in times
    ]
    for row in rows:
        print(", ".join(f"{key}: {value}" for key, value in row.items()))
    if options.out:
        about = machine() | {"threads": str(options.threads), "clock read": options.clock}
        write_tables(f"Online MobileNetV2, {SIZE} x {SIZE}, one frame a step", rows, about, options.out)


def _prepare(name: str, authors: Path, num_threads: int) -> str:
    """Make this process ready for ``name``; the precision it computes in, and of "auto" the runtime."""
    global step
    torch.set_num_threads(num_threads)
    model: Any = create_model(NETWORK, pretrained=True).eval()
    clips = _clips(model)
    frame = clips[0][:, 0]
    if name in (AUTHORS, AS_IT_IS):
        step = _authors(authors, model, frame) if name == AUTHORS else _with_reference(_stepper(model, frame))
        return "fp32"
    if name in AUTHORS_IN:
        step = _authors_in(AUTHORS_IN[name], authors, model, frame, num_threads)
        return "fp32"
    precision: Any
    runtime, _, precision = name.partition(":")
    fast = optimize(model, frame, runtime, precision, num_threads, clips if precision == "int8" else None)
    step = _stepper(fast, frame)
    return f"{fast.precision}, {fast.runtime}" if runtime == "auto" else fast.precision


def _frames(clock: str) -> float:
    """Milliseconds of a step, the median; the first few find the caches cold."""
    with torch.inference_mode():
        return medians(interleave({"step": step}, FRAMES, clock=CLOCKS[clock]))["step"]


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


def _authors_in(runtime: str, path: Path, model: Any, frame: Tensor, num_threads: int) -> Step:
    """The same in a runtime, as PyTorch's own exporter writes it.

    Raises:
        ZooError: the runtime is not installed.
    """
    if lack := missing(runtime):
        raise ZooError(lack)
    network = load_module(path).MobileNetV2(n_class=model.num_classes).eval()
    state = model.initial_state(1, SIZE)
    names = ["frame", *(f"state{number}" for number in range(len(state)))]
    program = torch.onnx.export(network, (frame, *state), input_names=names, dynamo=True)
    assert program is not None
    content = program.model_proto.SerializeToString()
    session: Session
    if runtime == "onnxruntime":
        session = OnnxSession(content, num_threads)
    else:
        session = OpenVINOSession(read(content), names, "fp32", num_threads)

    def step() -> None:
        nonlocal state
        _, *state = session(frame, *state)

    return step


def _with_reference(step: Step) -> Step:
    def run() -> None:
        with computed_by(reference):
            step()

    return run


if __name__ == "__main__":
    sys.exit(main())
