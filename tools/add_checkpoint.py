"""Put a measured checkpoint into checkpoints/: tools/add_checkpoint.py out/mosd/best --licence ... --origin ..."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path

from zoo import hub
from zoo.engine.measure import FIGURES
from zoo.errors import ZooError
from zoo.weights import Metric, read_index, verify


def read_figures(folder: Path) -> tuple[Metric, ...]:
    """What tools/validate.py measured of the checkpoint in ``folder``."""
    measured = folder.parent / FIGURES
    if not measured.is_file():
        raise ZooError(f"{measured}: the checkpoint was not measured; run tools/validate.py {folder} first")
    return tuple(Metric(**entry) for entry in json.loads(measured.read_text()))


def main() -> int:
    """Copy the weights and write their entry in the index; the figures come from beside the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkpoint, as training writes it, measured by tools/validate.py")
    parser.add_argument("--licence", required=True, help="an SPDX identifier")
    parser.add_argument("--origin", required=True, help="how and on what it was trained, and from where the data came")
    parser.add_argument("--compare", type=Path, nargs="*", default=[], help="measured checkpoints of other networks")
    options = parser.parse_args()
    index = hub.checkpoints_folder() / "index.json"
    try:
        spec = hub.read_description(options.folder)
        verify(options.folder / spec.file, spec)
        metrics = read_figures(options.folder)
        for other in options.compare:
            name = hub.read_description(other).architecture
            metrics += tuple(
                dataclasses.replace(metric, name=f"{metric.name} of {name}") for metric in read_figures(other)
            )
        file = f"{spec.name}.safetensors"
        shutil.copyfile(options.folder / spec.file, index.parent / file)
        entry = dataclasses.replace(spec, file=file, licence=options.licence, origin=options.origin, metrics=metrics)
        known = {other.name: other for other in read_index(index)}  # keeps the order: a bare name takes its first tag
        entries = [item.to_json() for item in (known | {entry.name: entry}).values()]
        index.write_text(json.dumps(entries, indent=2) + "\n")
    except ZooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{entry.name}: {entry.size / 1e6:.1f} MB in {index.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
