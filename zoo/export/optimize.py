"""The fastest runtime that agrees with a model."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import Tensor, nn

from zoo.errors import InputError, ZooError
from zoo.export.agreement import Trial, check_trials, trials_of
from zoo.export.calibration import Calibration, calibration_inputs, calibration_list
from zoo.export.eager import fast_copy
from zoo.export.optimized import OptimizedModel
from zoo.export.runtimes import RUNTIMES, find_runtime, missing
from zoo.export.signature import Network, example_inputs, signature_of

log = logging.getLogger("zoo")
Precision = Literal["fp32", "bf16", "int8"]
AUTO = tuple(name for name in RUNTIMES if name != "aotinductor")
RUNS = 7  # of each runtime, in turn, when the fastest is looked for
SETTLE = 0.03  # seconds that it has run by then: the threads of the one before it spin for a while
WARM_UP = 1


def optimize(
    model: nn.Module,
    example: Any = None,
    runtime: str = "auto",
    precision: Precision = "fp32",
    num_threads: int | None = None,
    calibration: Calibration | None = None,
) -> OptimizedModel:
    """Make ``model`` fast; it does not change itself.

    Args:
        model: of any kind that the zoo makes.
        example: what it is called with, a tensor or a tuple of them; for an online model a frame or a clip. By default
            noise of the size that the model's preprocessing gives. Every runtime has to agree with the model on it,
            and on noise of its size; in int8 on the last of ``calibration``, since larger numbers are cut off.
        runtime: one of ``zoo.export.RUNTIMES``, or "auto" for the fastest here that agrees with the model. That leaves
            out "aotinductor", which compiles for as long again as "compile" and comes to the same code.
        precision: "fp32", "bf16" to compute in half the bits, or "int8" in a quarter.
        num_threads: that the runtime computes with; by default its own choice.
        calibration: of int8, inputs that show which ranges numbers take, like ``example``; of an online model clips,
            which are followed step by step. Some tens of them, as the model gets them in use; or a folder of files.

    Returns:
        what is called like the model: its outputs are float32 and, but for the rounding, the model's.

    Raises:
        ZooError: there is no such runtime, it is not installed, or it cannot run this model.
        DisagreementError: it gives something else than the model.
        InputError: there is no example, and nothing is known about the model's input; or the model is optimised
            already; or, of int8, ``calibration`` is empty, or the model does not take what is in it.
    """
    if isinstance(model, OptimizedModel):
        raise InputError(f"this model is in the runtime {model.runtime} already: pass the original")
    if precision not in get_args(Precision):
        raise InputError(f"there is no precision {precision!r}: it is {', '.join(get_args(Precision))}")
    if calibration is not None and precision != "int8":
        raise InputError('calibration is for int8: add precision="int8", or leave it out')
    if num_threads is not None and num_threads < 1:
        raise InputError(f"num_threads is at least 1, not {num_threads}")
    began = time.perf_counter()
    samples = calibration_list(model, calibration) if precision == "int8" else []
    if runtime != "auto":
        lack = missing(runtime)
        if lack is not None:
            raise ZooError(lack)
    if example is None and samples:
        example = samples[0]
    inputs = example_inputs(model, example)
    if not all(bool(tensor.isfinite().all()) for tensor in inputs):
        raise InputError("the example holds numbers that are not finite: pass one as the model gets them in use")
    started = time.perf_counter()
    network = network_of(model, inputs, samples)
    seconds = time.perf_counter() - started
    trials = network_trials(model, network, inputs)
    ready: list[OptimizedModel] = []
    failures: list[ZooError] = []
    for name in AUTO if runtime == "auto" else (runtime,):
        if runtime == "auto" and missing(name) is not None:
            continue
        try:
            started = time.perf_counter()
            session = find_runtime(name).prepare(network, inputs, precision, num_threads)
            spent = seconds + time.perf_counter() - started
            check_trials(name, session, network.signature.outputs, trials)
            ready.append(OptimizedModel(model, session, network.signature, name, spent, inputs[0].device))
        except ZooError as error:
            failures.append(error)
        except Exception as error:  # whatever a runtime raises: the others may take the model
            if runtime != "auto":
                raise
            failures.append(ZooError(f"{name} does not take this model ({type(error).__name__}: {error})"))
    for failure in failures:
        log.info("%s", failure)
    if not ready:
        raise failures[0]
    fastest = _fastest(ready, trials[0])
    if runtime == "auto":
        fastest.prepare_seconds = time.perf_counter() - began  # of all that were tried
    return fastest


def network_of(model: nn.Module, inputs: Sequence[Tensor], samples: Sequence[Any] = ()) -> Network:
    """What runtimes are given: the fast form of ``model``, which takes ``inputs``; ``samples`` are those of int8.

    Raises:
        InputError: the model does not take one of the samples.
    """
    fast = fast_copy(model, inputs)
    network = Network(fast, signature_of(fast, inputs))
    network.calibration = calibration_inputs(network, samples)
    return network


def network_trials(model: nn.Module, network: Network, inputs: Sequence[Tensor]) -> list[Trial]:
    """What a runtime is tried with; in int8 only what it was calibrated with, since larger numbers are cut off."""
    if network.calibration:
        return trials_of(model, network.signature, network.calibration[-1])[:1]
    return trials_of(model, network.signature, inputs)


def _fastest(ready: list[OptimizedModel], trial: Trial) -> OptimizedModel:
    """The one whose median time is the least; they run in turn, so that what disturbs one disturbs all.

    At each turn a call counts that follows others for a while, in which threads of the runtime before may still spin.
    """
    if len(ready) == 1:
        return ready[0]
    times: dict[str, list[float]] = {each.runtime: [] for each in ready}
    for run in range(WARM_UP + RUNS):
        for each in ready:
            until = time.perf_counter() + SETTLE
            while True:
                started = time.perf_counter()
                each.session(*trial.inputs)[0].cpu()  # which waits for a GPU
                if started >= until:
                    break
            if run >= WARM_UP:
                times[each.runtime].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    log.info("%s", ", ".join(f"{name} {seconds * 1e3:.2f} ms" for name, seconds in medians.items()))
    return min(ready, key=lambda each: medians[each.runtime])
