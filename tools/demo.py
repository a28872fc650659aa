"""Load a TSM and a PVCNN by name, run each on a file, and show the answers."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import zoo
from zoo.cli import exit_code

VIDEO_MODEL = "tsm_mobilenetv2_online.fingertip"
POINT_MODEL = "pvcnn_sem_c0p25.mosd"


def show(model: str, file: Path, saved: Path) -> None:
    """Load ``model``, run it on ``file``, print the answer and write it to ``saved``."""
    started = time.perf_counter()
    predictor: Any = zoo.load(model)
    loaded = time.perf_counter()
    prediction = predictor(file)
    print(f"\n{model} on {file}")
    for label, score in prediction.top(4):
        print(f"  {score:7.2%}  {label}")
    stages = {"load": (loaded - started) * 1e3, **prediction.timings_ms}
    started = time.perf_counter()
    prediction.save(saved)
    stages["save"] = (time.perf_counter() - started) * 1e3
    print("  " + ", ".join(f"{stage} {ms:.0f} ms" for stage, ms in stages.items()))
    print(f"  wrote {saved}")


def show_both(video: Path, cloud: Path, out: Path) -> None:
    """Show what the bundled models make of ``video`` and ``cloud``; the results are written to the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    show(VIDEO_MODEL, video, out / "gesture_annotated.mp4")
    show(POINT_MODEL, cloud, out / "tabletop_segmented.ply")


def main() -> int:
    """Run the demo; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True, help="a video of a gesture")
    parser.add_argument("--cloud", type=Path, required=True, help="a point cloud of a tabletop")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="where the results go (default: out/demo)")
    options = parser.parse_args()
    return exit_code(lambda: show_both(options.video, options.cloud, options.out))


if __name__ == "__main__":
    sys.exit(main())
