"""Time forms of the temporal shift in ONNX Runtime and OpenVINO: tools/bench_shift_forms.py --out model_cards/results.

Every form computes the same network over clips of eight frames: residual blocks whose first 1x1 convolution sees its
input shifted along time (TSM, figure 3b). The networks are those of ``zoo.bench.shift_forms``, since some
forms change more than the shift: how producers cut their channels, or which dimension time is. ``none`` is the network
without a shift (TSN), to which ``ratio`` compares. The first two rows are what ``zoo.optimize`` makes of the zoo's own
TSN and TSM, and compare with the former. All run in turn in one process; ``ms`` are medians, ``ratio`` is the median of
the ratios of neighbours, ``processor time`` the same of the time that all threads computed: it is steadier where the
machine is shared; ``of least`` is the ratio of the shortest times, which others disturbed the least.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import torch

import zoo
from zoo.bench.machine import machine
from zoo.bench.shift_forms import FORMS, FRAMES, NETWORKS, SIDE, none, onnx_of
from zoo.bench.tables import write_tables
from zoo.cli import exit_code
from zoo.errors import InputError
from zoo.export.optimize import Precision
from zoo.export.runtimes import Session, missing
from zoo.export.runtimes.onnxruntime import OnnxSession
from zoo.export.runtimes.openvino import OpenVINOSession, read

WARM_UP = 1
BASELINE, EXPECTED = "none", "slices and concat"
EXPORTS = {"zoo: tsn": "tsn", "zoo: tsm": "tsm"}  # the prefix of the architecture


def exported(architecture: str, runtime: str, clips: torch.Tensor, precision: Precision, num_threads: int) -> Session:
    """A network of the zoo in a runtime, with random weights; it agrees with the model."""
    torch.manual_seed(0)
    return zoo.optimize(zoo.create_model(architecture), clips, runtime, precision, num_threads).session


def session_of(runtime: str, content: bytes, precision: str, num_threads: int) -> OnnxSession | OpenVINOSession:
    """A network in a runtime."""
    if runtime == "onnxruntime":
        return OnnxSession(content, num_threads)
    return OpenVINOSession(read(content), ["clips"], precision, num_threads)


def rows_of(
    network: str, runtime: str, precision: Precision, names: list[str], runs: int, threads: int
) -> list[dict[str, str]]:
    """Time the forms in turn; one row for each."""
    clips = torch.randn(1, FRAMES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    sessions: dict[str, Session] = {
        name: exported(f"{prefix}_{network}", runtime, clips, precision, threads) for name, prefix in EXPORTS.items()
    }
    for name in dict.fromkeys([BASELINE, EXPECTED, *names]):
        content = onnx_of(NETWORKS[network](), FORMS[name])
        sessions[name] = session_of(runtime, content, precision, threads)
    expected = sessions[EXPECTED](clips)[0]
    elapsed: dict[str, list[float]] = {name: [] for name in sessions}
    computed: dict[str, list[float]] = {name: [] for name in sessions}
    differences = {}
    for run in range(WARM_UP + runs):
        for name, session in sessions.items():
            wall, processor = time.perf_counter(), time.process_time()
            logits = session(clips)[0]
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            differences[name] = float((logits - expected).abs().max() / expected.abs().max())
            if run >= WARM_UP:
                elapsed[name].append(wall)
                computed[name].append(processor)

    def unshifted(name: str) -> str:
        return next(iter(EXPORTS)) if name in EXPORTS else BASELINE

    def ratio(times: dict[str, list[float]], name: str) -> str:
        pairs = zip(times[name], times[unshifted(name)], strict=True)
        return f"{statistics.median(ours / theirs for ours, theirs in pairs):.3f}"

    return [
        {
            "network": network,
            "runtime": runtime,
            "precision": precision,
            "form": name,
            "ms": f"{statistics.median(elapsed[name]) * 1e3:.1f}",
            "ratio": ratio(elapsed, name),
            "processor time": ratio(computed, name),
            "of least": f"{min(elapsed[name]) / min(elapsed[unshifted(name)]):.3f}",
            "difference": "" if name in EXPORTS or FORMS[name].conv is none else f"{differences[name]:.1e}",
        }
        for name in sessions
    ]


def main() -> int:
    """Run the benchmark; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--network", choices=list(NETWORKS), nargs="+", default=list(NETWORKS))
    parser.add_argument(
        "--runtime", choices=["onnxruntime", "openvino"], nargs="+", default=["onnxruntime", "openvino"]
    )
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16 in OpenVINO alone")
    parser.add_argument("--form", choices=list(FORMS), nargs="+", default=list(FORMS))
    parser.add_argument("--runs", type=int, default=10, help="times that each form runs (default: 10)")
    parser.add_argument("--threads", type=int, default=2, help="that a runtime computes with (default: 2)")
    parser.add_argument("--out", type=Path, help="a folder for shift_forms_cpu.csv and .md, or shift_forms_cpu_bf16")
    options = parser.parse_args()
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Time what was asked for, print it and write it down."""
    if options.precision == "bf16" and "onnxruntime" in options.runtime:
        raise InputError("ONNX Runtime does not compute in bfloat16 on a CPU: pass --runtime openvino")
    rows = []
    for runtime in options.runtime:
        lack = missing(runtime)
        if lack is not None:
            raise InputError(lack)
        for network in options.network:
            new = rows_of(network, runtime, options.precision, options.form, options.runs, options.threads)
            rows += new
            for row in new:
                print("  ".join(f"{value:<20}" for value in row.values()), flush=True)
    if options.out:
        about = machine("cpu") | {"runs": str(options.runs), "threads": str(options.threads)}
        about |= {"load": f"{os.getloadavg()[-1]:.0f} threads of all processes"}
        suffix = "" if options.precision == "fp32" else f"_{options.precision}"
        write_tables("Forms of the temporal shift", rows, about, options.out / f"shift_forms_cpu{suffix}")


if __name__ == "__main__":
    sys.exit(main())
