"""Make the website of results, one page that needs no server and no network: `make site`."""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import zoo
from zoo.bench.accuracy import Point, fits, points_of
from zoo.bench.latency_text import read_reports
from zoo.bench.record import Record, Report
from zoo.cli import exit_code
from zoo.data.points import color_labels, read_points
from zoo.data.video import stream_video
from zoo.data.video_writer import write_annotated_video
from zoo.errors import InputError
from zoo.registry import find_weights, list_models

ROOT = Path(__file__).parents[1]
PARTS = Path(__file__).parent / "site"
VIDEO_MODEL = "tsm_mobilenetv2_online.fingertip"
POINT_MODEL = "pvcnn_sem_c0p25.mosd"
FPS = 8  # of the recording: slow enough to read
SCALE = 1000  # steps to the radius of a cloud


def page(reports: list[Report], cards: Path, video: Path, cloud: Path) -> str:
    """The page, with everything in it.

    Args:
        reports: what was measured.
        cards: the folder of the model cards.
        video: a stream to show.
        cloud: points to show.
    """
    data = {
        "machines": [report.machine for report in reports],
        "records": [record_entry(record, report) for report in reports for record in report.records],
        "points": [point_entry(point, report) for report in reports for point in points_of(report.records)],
        "cards": {path.stem: card_html(path) for path in sorted(cards.glob("*.md"))},
        "stream": stream_entry(video),
        "cloud": cloud_entry(cloud),
    }
    text = (PARTS / "page.html").read_text()
    for part in [*PARTS.glob("*.css"), *PARTS.glob("*.js")]:
        text = text.replace(f"/* {part.name} */", part.read_text())
    # What ends a script or begins a comment in HTML must not stand in the data.
    return text.replace("/* data */", json.dumps(data, allow_nan=False).replace("<", "\\u003c"))


def record_entry(record: Record, report: Report) -> dict[str, Any]:
    """A record, with what it was measured on and the weights that it holds for."""
    specs = [find_weights(name) for name in list_models(pretrained=True)]
    weights = [spec.name for spec in specs if fits(record, spec)]
    return asdict(record) | {"machine": report.measured_on, "weights": weights}


def point_entry(point: Point, report: Report) -> dict[str, Any]:
    """A dot of the plot; those of one machine are compared."""
    record, metric = point.record, point.metric
    how = f"{record.runtime} {record.precision}, {record.device}, {record.threads} threads"
    what = f"{metric.name} on {metric.dataset}; {report.measured_on}"
    return {"name": point.name, "ms": record.p50_ms, "value": metric.value, "metric": metric.name} | {
        "what": what,
        "how": how + (", noisy" if record.noisy else ""),
    }


def card_html(path: Path) -> str:
    """A card without the Hub's metadata, as HTML; HTML in it is shown as text."""
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise InputError("the cards need markdown-it-py: pip install 'efficient-recognition-zoo[site]'") from error
    text = path.read_text()
    body = text.split("\n---\n", 1)[1] if text.startswith("---\n") else text
    html: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(body)
    return html


def stream_entry(video: Path) -> dict[str, str]:
    """The recording of the online model on ``video``, with what it says after each frame."""
    predictor: Any = zoo.load(VIDEO_MODEL, "cpu")
    frames = torch.stack(list(stream_video(video)))
    lines = list(steps(predictor, frames))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.mp4"
        write_annotated_video(path, frames, FPS, lines)
        source = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
    return {"source": source, "caption": f"{VIDEO_MODEL} on a drawn gesture: what it says after each frame."}


@torch.inference_mode()
def steps(predictor: Any, frames: torch.Tensor) -> Iterator[list[str]]:
    """Two lines for each of the frames uint8 [T, H, W, 3]: the likeliest classes by the mean of the logits so far."""
    inputs = predictor.transform(frames.permute(0, 3, 1, 2))
    state = predictor.model.initial_state(1, tuple(inputs.shape[2:]))
    total = torch.zeros(1, len(predictor.class_names))
    for number, frame in enumerate(inputs, start=1):
        logits, state = predictor.model.step(frame[None], state)
        total += logits
        best = (total / number).softmax(1)[0].topk(2)
        yield [
            f"{predictor.class_names[index]}  {score:.1%}"
            for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]


def cloud_entry(path: Path) -> dict[str, Any]:
    """The points of ``path`` with the labels of the scene model, small enough to stand in a page."""
    predictor: Any = zoo.load(POINT_MODEL, "cpu")
    labels = predictor(path).labels.numpy()
    cloud = read_points(path, features=("rgb",))
    kept = cloud.finite & (labels >= 0)
    centered = cloud.points[kept] - cloud.points[kept].mean(axis=0)
    steps = np.rint(centered / np.linalg.norm(centered, axis=1).max() * SCALE)
    colors = np.zeros((len(labels), 3), np.uint8) if cloud.colors is None else cloud.colors
    names = predictor.class_names
    return {
        "points": _encode(steps, "<i2"),
        "colors": _encode(colors[kept], "u1"),
        "labels": _encode(labels[kept], "u1"),
        "palette": color_labels(np.arange(len(names)), len(names)).tolist(),
        "caption": f"{POINT_MODEL} on a scene of {kept.sum():,} points: {', '.join(names)}.",
    }


def _encode(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode()


def make(options: argparse.Namespace) -> None:
    """Write index.html."""
    reports = read_reports(options.results)
    if not reports:
        raise InputError(
            f"{options.results}: holds no latency_*.json; run `zoo bench ... --out {options.results}` first"
        )
    target = options.out / "index.html"
    options.out.mkdir(parents=True, exist_ok=True)
    target.write_text(page(reports, ROOT / "model_cards", options.video, options.cloud))
    print(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB): open it in a browser")


def main() -> int:
    """Make the page; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--results", type=Path, default=ROOT / "model_cards/results", help="what `zoo bench --out` wrote"
    )
    parser.add_argument("--video", type=Path, required=True, help="a stream of a gesture")
    parser.add_argument("--cloud", type=Path, required=True, help="a point cloud of a tabletop")
    parser.add_argument("--out", type=Path, default=Path("out/site"), help="the folder (default: out/site)")
    options = parser.parse_args()
    return exit_code(lambda: make(options))


if __name__ == "__main__":
    sys.exit(main())
