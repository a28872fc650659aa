"""What is different in the configuration with which a run goes on."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from zoo.engine.config import TrainConfig

FREE = {
    "data.timeout",
    "data.workers",
    "epochs",
    "init.weights",
    "keep_every",
    "out",
    "resume",
    "save_steps",
    "system.compile",
    "system.device",
    "system.grad_checkpointing",
}
"""What may be another without a word: it changes how long a run takes and what is kept of it, not what it learns."""

FIXED = {"optim.batch_norm", "optim.freeze", "optim.groups", "optim.layer_decay", "optim.name"}
"""What must stay: by it the optimiser's memory is known to belong to a parameter."""


def changed_keys(before: dict[str, Any], config: TrainConfig) -> list[str]:
    """The keys of ``config`` that had another value, in the order of the configuration.

    Args:
        before: the configuration that a checkpoint holds; a key that it does not know yet counts as unchanged.
        config: that with which the run goes on.
    """
    known = _flat(before)
    now = _flat(json.loads(json.dumps(dataclasses.asdict(config))))  # with lists for tuples, as the checkpoint has it
    return [key for key, value in now.items() if key not in FREE and known.get(key, value) != value]


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys, as on the command line; the arguments of the model are one value."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and key != "model_args":
            flat |= {f"{key}.{inner}": item for inner, item in value.items()}
        else:
            flat[key] = value
    return flat
