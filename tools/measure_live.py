"""How well the stages of ``zoo live`` overlap on this machine: rounds one after another and all at once, in turn.

The target is 0.9 of 1 / max(slowest stage, CPU time a frame / cores); the slowest stage is that of the rounds in which
nothing else runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from zoo.cli import exit_code
from zoo.data.video_writer import writing_video
from zoo.export.optimize import OptimizedModel, optimize
from zoo.live.following import Following
from zoo.live.smoothing import preset_for
from zoo.live.sources import open_source
from zoo.live.stopwatch import Stopwatch
from zoo.live.streams import Streams
from zoo.predict import Predictor, load


def main() -> int:
    """Measure and print a line for each round, then the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="an online model with weights")
    parser.add_argument("--source", required=True, help="a video file")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--threads", type=int, help="that the model computes with")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    return exit_code(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> None:
    predictor = load(options.name, "cpu")
    model = optimize(predictor.model, runtime=options.runtime, num_threads=options.threads)
    print(f"{predictor.spec.name} in {model.runtime}, {model.precision}; {options.source}")
    shares = []
    _round(options.source, predictor, model, overlap=True)  # nothing is warm before
    for number in range(options.rounds):
        alone = _round(options.source, predictor, model, overlap=False)
        together = _round(options.source, predictor, model, overlap=True)
        stages = {name: stage.wall / alone.frames for name, stage in alone.stages.items()}
        slowest = max(stages, key=stages.__getitem__)
        processor = together.cpu_seconds / together.frames / together.cores
        bound, reached = max(stages[slowest], processor), together.seconds / together.frames
        shares.append(bound / reached)
        print(
            f"{number}: {reached * 1e3:.2f} ms a frame together, {alone.seconds / alone.frames * 1e3:.2f} one after "
            f"another; slowest stage {slowest} {stages[slowest] * 1e3:.2f}, CPU / cores {processor * 1e3:.2f}: "
            f"{shares[-1]:.2f} of the attainable speed"
        )
    print(f"median {statistics.median(shares):.2f}")


def _round(source: str, predictor: Predictor, model: OptimizedModel, overlap: bool) -> Stopwatch:
    streams = Streams(model, rules=preset_for(predictor.class_names))
    opened = open_source(source)
    with TemporaryDirectory() as folder, writing_video(Path(folder) / "out.mp4", opened.fps) as write:
        following = Following(opened, streams, predictor.transform, write, overlap)
        for _ in following:
            pass
    return following.stopwatch


if __name__ == "__main__":
    sys.exit(main())
