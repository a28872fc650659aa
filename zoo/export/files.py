"""Models as files for deployment: written once they agree with the model, and read back without it."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from zoo.data.outputs import check_output
from zoo.errors import CheckpointError, InputError, ZooError
from zoo.export.agreement import Trial, check_trials
from zoo.export.calibration import Calibration, calibration_list
from zoo.export.optimize import network_of, network_trials
from zoo.export.optimized import OptimizedModel
from zoo.export.runtimes import MODULES, Session, missing
from zoo.export.signature import Network, Signature, Size, example_inputs
from zoo.weights import WeightsSpec

RUNTIMES_OF = {"onnx": "onnxruntime", "openvino": "openvino", "pt2": "aotinductor"}
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}
FORMATS = tuple(RUNTIMES_OF)
LARGEST = 2**16  # size of a tensor along one axis


class FileRuntime(Protocol):
    """What the module of a runtime with files of its own holds."""

    def write(self, path: Path, network: Network, example: Sequence[Tensor], about: str) -> None:
        """Write the network, with ``about`` in it; files beside ``path`` bear its stem.

        Raises:
            ZooError: the network does not fit the format.
        """

    def load(self, path: Path, num_threads: int | None) -> tuple[Session, str | None]:
        """A session of a file, and the ``about`` in it; none where it has none.

        Raises:
            CheckpointError: the file is damaged.
        """


@dataclass(frozen=True)
class Described:
    """What a file knows of the model that it was made of.

    Attributes:
        spec: its description.
        signature: what goes in and comes out.
    """

    spec: WeightsSpec
    signature: Signature

    @property
    def num_classes(self) -> int:
        """As of the model."""
        return self.spec.num_classes

    def to_json(self) -> str:
        """What a file says about itself."""
        signature = {
            "inputs": {name: list(shape) for name, shape in self.signature.inputs.items()},
            "outputs": list(self.signature.outputs),
            "gives_dict": self.signature.gives_dict,
            "num_ids": self.signature.num_ids,
        }
        return json.dumps({"spec": self.spec.to_json(), "signature": signature})

    @classmethod
    def from_json(cls, text: str | None, path: Path) -> Described:
        """Read what a file says about itself.

        Raises:
            CheckpointError: it says nothing, or something else.
        """
        if text is None:
            raise CheckpointError(f"{path}: is no model of the zoo, it says nothing of its input: use `zoo export`")
        try:
            about = json.loads(text)
            signature = Signature(
                {str(name): _shape(sizes) for name, sizes in about["signature"]["inputs"].items()},
                tuple(map(str, about["signature"]["outputs"])),
                bool(about["signature"]["gives_dict"]),
                int(about["signature"]["num_ids"] or 0) or None,
            )
            entry = about["spec"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path}: its description cannot be read ({error}); export it again") from error
        return cls(WeightsSpec.from_json(entry, str(path)), signature)


def _shape(sizes: list[Size]) -> tuple[Size, ...]:
    """The shape of a tensor, as a file that may be a stranger's has it."""
    for size in sizes:
        if size not in ("B", "N") and not (type(size) is int and 0 < size <= LARGEST):
            raise ValueError(f"a tensor cannot have the size {size!r}")
    return tuple(sizes)


def export_model(
    model: nn.Module,
    path: str | os.PathLike[str],
    to: str,
    example: Any = None,
    calibration: Calibration | None = None,
) -> Path:
    """Write ``model`` as a file for a runtime, which ``zoo.load`` takes as it takes the name of a model.

    The file is run and compared with the model before it takes its place: on the example, on noise, and on a batch of
    both. Its batch may be any, and so may the number of points; frames keep their number and size.

    Args:
        model: one that ``zoo.create_model`` made, on the CPU.
        path: ends in ".onnx", for OpenVINO in ".xml" (the weights come beside it, in a ".bin"), else in ".pt2".
        to: "onnx"; "openvino"; or "pt2", PyTorch's package of machine code for processors like this one, which holds
            the zoo's operators as calls and so needs the zoo where it runs.
        example: as for :func:`zoo.optimize`.
        calibration: as for :func:`zoo.optimize`; the file computes in int8 then, and is compared with the model on what
            it was calibrated with alone.

    Returns:
        The path.

    Raises:
        ZooError: the format needs a package that is missing, or an operator of the model is in its way.
        DisagreementError: the file computes something else than the model.
        InputError: the file cannot be written, the model is not one of the zoo, or the calibration set is empty.
    """
    if to not in FORMATS:
        raise InputError(f"there is no format {to!r}: the formats are {', '.join(FORMATS)}")
    path = check_output(path, (SUFFIXES[to],))
    spec = getattr(model, "spec", None)
    if isinstance(model, OptimizedModel) or not isinstance(spec, WeightsSpec):
        raise InputError("this is no model of the zoo with its description: make it with zoo.create_model")
    runtime = _runtime(to)
    if calibration is not None and to == "pt2":
        raise InputError("a pt2 file computes in fp32: export to onnx or openvino for int8")
    samples = [] if calibration is None else calibration_list(model, calibration)
    inputs = example_inputs(model, samples[0] if example is None and samples else example)
    if inputs[0].device.type != "cpu":
        raise InputError("files are written for processors: move the model and the example there with .cpu()")
    network = network_of(model, inputs, samples)
    described = Described(spec, network.signature)
    trials = network_trials(model, network, inputs)
    trials.append(_together(trials if len(trials) > 1 else trials * 2))
    try:
        with TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            written = Path(folder) / path.name
            runtime.write(written, network, inputs, described.to_json())
            session, _ = runtime.load(written, None)
            check_trials(f"the {to} file", session, network.signature.outputs, trials)
            for file in sorted(Path(folder).iterdir(), key=lambda file: file.suffix == path.suffix):
                os.replace(file, path.parent / file.name)  # the one that names the others comes last
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another path") from error
    return path


def is_file_name(name: str | os.PathLike[str]) -> bool:
    """Whether ``name`` is one of a file that :func:`export_model` writes."""
    return Path(name).suffix.lower() in SUFFIXES.values()


def load_file(path: str | os.PathLike[str], num_threads: int | None = None) -> OptimizedModel:
    """The model of a file that :func:`export_model` wrote, in its runtime.

    A ".pt2" is a program: run only those that you or somebody you trust wrote.

    Args:
        path: the file.
        num_threads: that the runtime computes with; by default its own choice.

    Raises:
        InputError: there is no such file.
        ZooError: its runtime is not installed.
        CheckpointError: it is damaged, or no model of the zoo.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    to = next(each for each, suffix in SUFFIXES.items() if path.suffix.lower() == suffix)
    runtime = _runtime(to)
    started = time.perf_counter()
    session, about = runtime.load(path, num_threads)
    described = Described.from_json(about, path)
    seconds = time.perf_counter() - started
    return OptimizedModel(described, session, described.signature, RUNTIMES_OF[to], seconds, torch.device("cpu"))


def _runtime(to: str) -> FileRuntime:
    """The module of the runtime of a format.

    Raises:
        ZooError: the runtime is not installed.
    """
    lack = missing(RUNTIMES_OF[to])
    if lack is not None:
        raise ZooError(lack)
    runtime: FileRuntime = importlib.import_module(f"zoo.export.runtimes.{MODULES[RUNTIMES_OF[to]]}")
    return runtime


def _together(trials: Sequence[Trial]) -> Trial:
    """All of the trials as one batch."""
    inputs = zip(*(trial.inputs for trial in trials), strict=True)
    expected = zip(*(trial.expected for trial in trials), strict=True)
    return Trial(tuple(map(torch.cat, inputs)), tuple(map(torch.cat, expected)))
