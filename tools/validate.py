"""Measure a model: tools/validate.py --model tsm_resnet50.k400_8f --data.val k400_val.csv --protocol dense_10x3."""

from __future__ import annotations

import sys
from pathlib import Path

from zoo.cli import exit_code
from zoo.engine.command_line import parse_config
from zoo.engine.config import ValidateConfig
from zoo.engine.distributed import is_first, is_first_to_say
from zoo.engine.validate import validate


def run() -> None:
    """Measure, print a line for every figure, and write the results if that is wanted."""
    config = parse_config(ValidateConfig, description=__doc__)
    evaluation, measured_on = validate(config)
    if not is_first():
        return
    print(f"{config.model} on {measured_on}; {evaluation.protocol}")
    for name, value in evaluation.figures.items():
        interval = evaluation.intervals.get(name)
        between = f" (95 % between {interval[0]:.4f} and {interval[1]:.4f})" if interval else ""
        print(f"{name}: {value:.4f}{between}")
    if left_out := evaluation.settings.get("num_left_out"):
        print(f"left out, as they cannot be read: {left_out}")
    if config.out:
        print(Path(config.out))


def main() -> int:
    """Read the configuration and measure; 0 on success."""
    return exit_code(run, is_first_to_say)


if __name__ == "__main__":
    sys.exit(main())
