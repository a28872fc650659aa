"""What is measured: a model in a runtime, at a size; and inputs of that size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.export.signature import is_online
from zoo.info import example_input
from zoo.processors import num_processors
from zoo.registry import architecture_task
from zoo.weights import WeightsSpec

Mode = Literal["single", "saturated"]
PLAIN = "plain"
"""The runtime that is none: the model as ``create_model`` gives it."""
SEED = 0


@dataclass(frozen=True)
class Job:
    """One thing to measure.

    Attributes:
        model: a name for ``create_model``; weights are loaded where it has a tag or names a place.
        runtime: "plain", or one that ``zoo.optimize`` takes.
        precision: that ``zoo.optimize`` is asked for.
        device: such as "cpu" or "cuda".
        batch: clips, clouds or streams that are computed together.
        frames: of a clip; by default as many as the model's preprocessing samples. Online models take one a step.
        points: of a cloud; by default as many as the model's preprocessing gives.
        threads: that compute one call.
        mode: "single" makes one call after another, "saturated" as many at once as there are processors for.
        cuda_graph: the call is recorded once and replayed, on a GPU.
        setting: the paper's setting that this is, in words; empty where it is none.
    """

    model: str
    runtime: str = PLAIN
    precision: str = "fp32"
    device: str = "cpu"
    batch: int = 1
    frames: int | None = None
    points: int | None = None
    threads: int = 1
    mode: Mode = "single"
    cuda_graph: bool = False
    setting: str = ""

    @property
    def has_weights(self) -> bool:
        """Whether the name tells which weights are meant."""
        return "." in self.model or ":" in self.model

    @property
    def streams(self) -> int:
        """How many calls are made at once: on a GPU they queue up behind one another."""
        if self.mode == "single" or self.device != "cpu":
            return 1
        return max(1, num_processors() // self.threads)

    def __str__(self) -> str:
        words = [self.model, self.runtime, self.precision, self.device, f"batch {self.batch}"]
        words += [f"{count} {what}" for what, count in (("frames", self.frames), ("points", self.points)) if count]
        words += [f"{self.threads} threads"] if self.device == "cpu" else []
        words += ["saturated"] if self.mode == "saturated" else []
        return ", ".join([*words, *(["CUDA graph"] if self.cuda_graph else [])])


def input_shapes(model: Any, job: Job) -> list[tuple[int, ...]]:
    """The shapes of what ``model`` takes in ``job``: of one frame a stream where it is online."""
    spec: WeightsSpec = model.spec
    shapes = []
    for tensor in example_input(model, architecture_task(spec.architecture)):
        shape = [job.batch, *tensor.shape[1:]]
        if tensor.dim() == 5:
            shape[1] = job.frames or shape[1]
        if tensor.dim() == 3:
            shape[2] = job.points or shape[2]
        shapes.append(tuple(shape))
    return [(shape[0], *shape[2:]) for shape in shapes] if is_online(model) else shapes


def make_inputs(shapes: list[tuple[int, ...]], device: str = "cpu") -> tuple[Tensor, ...]:
    """Inputs of these shapes, the same every time.

    Pictures are noise; clouds lie on a sphere, as scanned surfaces fill few of the voxels; ids are zeros.
    """
    generator = torch.Generator().manual_seed(SEED)
    made = []
    for shape in shapes:
        if len(shape) == 1:
            tensor = torch.zeros(shape, dtype=torch.int64)
        elif len(shape) == 3:
            tensor = torch.rand(shape, generator=generator)
            tensor[:, :3] = F.normalize(torch.randn(shape[0], 3, shape[2], generator=generator), dim=1)
        else:
            tensor = torch.randn(shape, generator=generator)
        made.append(tensor.to(device))
    return tuple(made)


def input_text(shapes: list[tuple[int, ...]]) -> str:
    """The first input without the batch, such as "8 x 3 x 224 x 224"."""
    return " x ".join(map(str, shapes[0][1:]))
