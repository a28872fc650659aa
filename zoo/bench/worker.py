"""A process that loads one model and computes it when it is told to, so that memory and threads are its own."""

from __future__ import annotations

import copy
import os
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

from zoo.bench.calls import Block, Runner, graph_call, model_call
from zoo.bench.job import PLAIN, SEED, Job, input_shapes, make_inputs
from zoo.bench.memory import peak_mb, reset_peak
from zoo.bench.stages import Stages, stage_times
from zoo.create import create_model
from zoo.errors import ZooError
from zoo.export import optimize
from zoo.export.signature import is_online

KILLED = 9
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "could not allocate")
PATIENCE = 5.0  # seconds for a process to end by itself
CLIP_FRAMES = 4  # that an online model follows when int8 takes its ranges


@dataclass(frozen=True)
class Prepared:
    """A model is ready.

    Attributes:
        runtime: that computes it.
        precision: in which it does.
        load_seconds: to build it and load its weights.
        prepare_seconds: to optimise, compile or export it.
        first_ms: the first call.
        memory_mb: the most that the process held in memory until then.
        base_memory_mb: what it held before it loaded the model.
    """

    runtime: str
    precision: str
    load_seconds: float
    prepare_seconds: float
    first_ms: float
    memory_mb: float | None
    base_memory_mb: float | None


@dataclass(frozen=True)
class Finished:
    """What is known at the end.

    Attributes:
        memory_mb: the most that the process held in memory while it computed; on a GPU, what was allocated there.
        stages: of the way from a file to labels.
        lack: why these are not known, where they should be.
    """

    memory_mb: float | None
    stages: Stages = field(default_factory=Stages)
    lack: str = ""


class WorkerError(ZooError):
    """A job that cannot be measured; the text says why."""


class Worker:
    """A process for ``job``, as seen from outside.

    Raises:
        WorkerError: from any method, that the job failed.
    """

    def __init__(self, job: Job):
        self.job = job
        context = get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(job, other), daemon=False)
        self._process.start()
        other.close()

    def prepared(self) -> Prepared:
        """Wait until the model is ready."""
        return self._answer(Prepared)

    def block(self, seconds: float) -> Block:
        """Let it compute for so long."""
        return self._answer(Block, seconds)

    def finish(self, end_to_end: bool) -> Finished:
        """Ask for the rest, ``end_to_end`` with the stages from a file to labels, and let it end."""
        return self._answer(Finished, "stages" if end_to_end else "memory")

    def close(self) -> None:
        """Make sure that the process is gone."""
        self._pipe.close()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _answer(self, kind: Any, question: float | str | None = None) -> Any:
        try:
            if question is not None:
                self._pipe.send(question)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            why = "was killed, most likely out of memory" if code == -KILLED else f"ended with the exit code {code}"
            raise WorkerError(f"{self.job}: its process {why}; try a smaller --batch") from None
        if not isinstance(answer, kind):
            raise WorkerError(f"{self.job}: {answer}")
        return answer


def _serve(job: Job, pipe: Connection) -> None:
    """The life of the process: prepare, answer, end; any error is told in a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # so that compiling takes as long as on a new machine
        try:
            _work(job, pipe)
        except EOFError:
            return  # nobody asks any more
        except KeyboardInterrupt:
            return
        except Exception as error:  # whatever a runtime raises is a result of this job, and the others go on
            pipe.send(explain(job, error))


def _work(job: Job, pipe: Connection) -> None:
    torch.set_num_threads(job.threads)
    if job.device != "cpu":
        torch.backends.cudnn.allow_tf32 = False  # which PyTorch takes for float32 otherwise: ten bits in place of 23
    base = _peak_memory(job)
    started = time.perf_counter()
    model: Any = create_model(job.model, pretrained=job.has_weights).eval()
    model.requires_grad_(False).to(job.device)
    loaded = time.perf_counter()
    inputs = make_inputs(input_shapes(model, job), job.device)
    with torch.inference_mode():
        models = _optimized(model, job, inputs)
        ready = time.perf_counter()
        record = graph_call if job.cuda_graph else model_call
        calls = [record(each, inputs, is_online(model)) for each in models]
        calls[0]()
        _synchronize(job)
    first_ms = (time.perf_counter() - ready) * 1e3
    runner = Runner(job, calls)
    runtime, precision = getattr(models[0], "runtime", PLAIN), getattr(models[0], "precision", job.precision)
    memory = _peak_memory(job)
    if not job.cuda_graph:  # what lies between its layers was allocated when it was recorded
        _reset_peak(job)
    prepare_seconds = getattr(models[0], "prepare_seconds", 0.0)
    pipe.send(Prepared(runtime, precision, loaded - started, prepare_seconds, first_ms, memory, base))
    while isinstance(message := pipe.recv(), float):
        pipe.send(runner.block(message))
    memory = _peak_memory(job)
    try:
        finished = Finished(memory, stage_times(model, models[0], job)) if message == "stages" else Finished(memory)
    except Exception as error:  # what was measured before holds all the same
        finished = Finished(memory, lack=explain(job, error))
    pipe.send(finished)


def _optimized(model: Any, job: Job, inputs: tuple[torch.Tensor, ...]) -> list[Any]:
    """A model for every stream, all in one runtime: "auto" chooses once."""
    if job.runtime == PLAIN:  # its layers share what they know of the clip
        return [model, *(copy.deepcopy(model) for _ in range(job.streams - 1))]
    precision: Any = job.precision
    calibration = [_calibration(model, inputs)] if precision == "int8" else None
    first = optimize(model, inputs, job.runtime, precision, job.threads, calibration)
    others = range(job.streams - 1)
    return [first, *(optimize(model, inputs, first.runtime, precision, job.threads, calibration) for _ in others)]


def _calibration(model: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """What int8 takes its ranges from: the inputs themselves, as they matter for results and not for their time."""
    if not is_online(model):
        return inputs
    generator = torch.Generator().manual_seed(SEED)
    frame = inputs[0]
    noise = torch.randn(frame.shape[0], CLIP_FRAMES - 1, *frame.shape[1:], generator=generator)
    return (torch.cat([frame.unsqueeze(1), noise.to(frame)], dim=1),)  # so that the state holds something


def explain(job: Job, error: Exception) -> str:
    """What went wrong, in a sentence."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in text.lower() for word in OUT_OF_MEMORY):
        return f"out of memory at batch {job.batch}; try a smaller --batch"
    if isinstance(error, ZooError):
        return text
    return f"{job.runtime} does not take this model ({type(error).__name__}: {text[:200]}); choose another --runtime"


def _synchronize(job: Job) -> None:
    if job.device != "cpu":
        torch.cuda.synchronize()


def _peak_memory(job: Job) -> float:
    """The most memory so far, in megabytes."""
    return peak_mb() if job.device == "cpu" else torch.cuda.max_memory_allocated() / 1e6


def _reset_peak(job: Job) -> None:
    if job.device == "cpu":
        reset_peak()
    else:
        torch.cuda.reset_peak_memory_stats()
