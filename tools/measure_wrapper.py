"""What `zoo.load("gesture.onnx")` costs on top of its runtime: both run the same file in turn, medians are compared."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo.bench.timing import interleave, medians
from zoo.cli import exit_code
from zoo.export.files import SUFFIXES, load_file
from zoo.export.optimized import OptimizedModel
from zoo.export.signature import example_inputs

IN_A_ROW = 20  # calls: threads of a runtime spin for a while, and take the time of the one that is called next


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each format; 2 where something is to be mended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="an architecture, see `zoo list`; its weights do not matter")
    parser.add_argument("--to", nargs="+", default=["onnx", "openvino"], choices=["onnx", "openvino"])
    parser.add_argument("--runs", type=int, default=40, help=f"of {IN_A_ROW} calls each (default: 40)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: all cores)")
    options = parser.parse_args(arguments)
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Measure the formats one after another."""
    model = zoo.create_model(options.name).eval()
    inputs = example_inputs(model)
    for to in options.to:
        with tempfile.TemporaryDirectory() as folder:
            path = zoo.export_model(model, Path(folder) / f"model{SUFFIXES[to]}", to)
            ours = load_file(path, options.threads)
            calls = {"direct": DIRECT[to](path, inputs, options.threads), "wrapped": _call(ours, inputs)}
            repeated = {name: partial(_repeat, call) for name, call in calls.items()}
            direct, wrapped = (time / IN_A_ROW for time in medians(interleave(repeated, options.runs)).values())
        print(
            f"{options.name} {ours.runtime}, {options.threads} threads, p50 of {options.runs} times {IN_A_ROW}: "
            f"direct {direct:.3f} ms, zoo {wrapped:.3f} ms, {100 * (wrapped / direct - 1):+.1f} %",
            flush=True,
        )


def _repeat(call: Callable[[], Any]) -> None:
    for _ in range(IN_A_ROW):
        call()


def _call(model: OptimizedModel, inputs: Sequence[torch.Tensor]) -> Callable[[], Any]:
    frame, *state = inputs
    return (lambda: model.step(frame, tuple(state))) if model.signature.is_step else (lambda: model(*inputs))


def _onnxruntime(path: Path, inputs: Sequence[torch.Tensor], threads: int) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {each.name: tensor.numpy() for each, tensor in zip(session.get_inputs(), inputs, strict=True)}
    return lambda: session.run(None, feeds)


def _openvino(path: Path, inputs: Sequence[torch.Tensor], threads: int) -> Callable[[], Any]:
    from zoo.export.runtimes.openvino import core

    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    request = core().compile_model(str(path), "CPU", settings).create_infer_request()
    feeds = {index: tensor.numpy() for index, tensor in enumerate(inputs)}
    return lambda: request.infer(feeds, share_inputs=True)


DIRECT = {"onnx": _onnxruntime, "openvino": _openvino}


if __name__ == "__main__":
    sys.exit(main())
