"""Results on disk: a JSON that says what was measured and how."""

from __future__ import annotations

import json
import math
import os
import platform
from importlib import metadata
from typing import Any

from zoo.data.outputs import check_output, replacing
from zoo.engine.protocols.evaluation import Evaluation
from zoo.errors import InputError

PACKAGES = ("efficient-recognition-zoo", "torch", "torchvision", "timm", "numpy", "decord", "av", "open3d")


def write_results(
    path: str | os.PathLike[str], evaluation: Evaluation, model_name: str, weights_sha256: str = ""
) -> dict[str, Any]:
    """Write what was measured, with all that is needed to measure it again.

    Args:
        path: the file, which ends in .json; it is replaced once all is written.
        evaluation: what was measured.
        model_name: such as "tsm_resnet50.k400_8f".
        weights_sha256: of the file of weights, as ``model.spec.sha256`` has it.

    Returns:
        What was written: ``model``, ``weights_sha256``, ``protocol``, ``settings``, ``num_samples``, ``metrics`` (by
        name: ``value`` and ``interval_95``, null where there is none), ``class_names``, ``confusion``, ``versions``.

    Raises:
        InputError: the file cannot be written.
    """
    path = check_output(path, (".json",))
    metrics = {
        name: {"value": _plain(value), "interval_95": _plain(evaluation.intervals.get(name))}
        for name, value in evaluation.figures.items()
    }
    results = {
        "model": model_name,
        "weights_sha256": weights_sha256,
        "protocol": evaluation.protocol,
        "settings": evaluation.settings,
        "num_samples": evaluation.num_samples,
        "metrics": metrics,
        "class_names": list(evaluation.class_names),
        "confusion": None if evaluation.confusion is None else evaluation.confusion.tolist(),
        "versions": library_versions(),
    }
    try:
        with replacing(path) as part:
            part.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}); give a path that you may write to") from error
    return results


def library_versions() -> dict[str, str]:
    """The versions of Python and of those libraries on which figures may depend, where they are installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _plain(value: Any) -> Any:
    """Numbers as JSON knows them: what is not finite is null."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return None if value is None or not math.isfinite(value) else value
