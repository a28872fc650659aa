"""Model cards: what a model is for, how good it is by which measure, its limits; with the Hub's metadata."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from zoo.hub.card_texts import DATASETS, NOT_FOR, PAPERS, TASKS
from zoo.registry import architecture_task, list_models
from zoo.weights import COMPUTED_FEATURES, Metric, PointInput, VideoInput, WeightsSpec, channels_of

LIBRARY = "efficient-recognition-zoo"
CARD_NAME = "README.md"
MAX_CLASSES = 40  # named in a card
OUR_TOOLS = "tools/"
COLUMNS = {"rgb": "red green blue", "normals": "nx ny nz"}  # of a file, by the feature that they make
HUB_METRICS = {"accuracy": "accuracy", "iou": "mean_iou"}  # the Hub's names, by a word in ours


def model_card(
    spec: WeightsSpec,
    load_name: str,
    num_parameters: int,
    *,
    weights: str = "",
    latency: str = "",
    license: str | None = None,
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    purpose: str | None = None,
    limits: str | None = None,
    citation: str | None = None,
) -> str:
    """The card of a model, as Markdown behind the Hub's metadata.

    Args:
        spec: what is known about its weights.
        load_name: under which ``zoo.load`` takes it.
        num_parameters: of the model.
        weights: where they lie, in words; left out where they lie beside the card.
        latency: tables of what was measured; left out where nothing was.
        license: in the place of that in ``spec``.
        datasets: that it was trained on, by the Hub's names, in the place of what the tag tells.
        tags: beside ours.
        purpose: what it is for, in the place of our sentence about the task.
        limits: behind ours.
        citation: BibTeX, in the place of the architecture's paper.
    """
    task, data = TASKS[architecture_task(spec.architecture)], _dataset(spec)
    papers = next((texts for start, texts in PAPERS.items() if spec.architecture.startswith(start)), ())
    trained_on = [f"{data.text}; terms: {data.terms}." if data else "", spec.origin[:1].upper() + spec.origin[1:]]
    weak = [task.limits, data.limits if data else "", limits or "", NOT_FOR]
    sections = {
        "Use": f"```python\n{usage(spec, load_name)}\n```",
        "Input": input_text(spec.input) + ".",
        f"Classes ({spec.num_classes})": _classes(spec),
        "Accuracy": _figures(spec),
        **({"Latency": latency} if latency else {}),
        "Training data": "\n\n".join(text for text in trained_on if text) or "Not said.",
        **({"Weights": weights} if weights else {}),
        "Licence": _licence(license or spec.licence),
        "Limits": " ".join(text for text in weak if text),
        "Citation": "```bibtex\n" + (citation or "\n\n".join(papers)) + "\n```",
    }
    body = [f"# {spec.name}", f"{purpose or task.purpose} {num_parameters / 1e6:.2f} M parameters."]
    body += [f"## {title}\n\n{text}" for title, text in sections.items()]
    metadata = _metadata(spec, license or spec.licence, list(datasets), list(tags))
    return f"---\n{metadata}\n---\n\n" + "\n\n".join(body) + "\n"


def usage(spec: WeightsSpec, load_name: str) -> str:
    """Three lines of Python that use the model."""
    if isinstance(spec.input, VideoInput):
        if len(spec.input.mean) == 3:
            return f'import zoo\npredictor = zoo.load("{load_name}")\nprint(predictor("clip.mp4").top(5))'
        side = spec.input.crop_size
        shape = f"1, {spec.input.num_frames}, {len(spec.input.mean)}, {side}, {side}"
        call = f"scores = model(torch.zeros({shape})).softmax(1)  # optical flow [N, T, C, H, W]"
    elif architecture_task(spec.architecture) == "object_detection":
        shape = f"1, {channels_of(spec.input.features)}, {spec.input.num_points}"
        call = f"boxes = model(torch.rand({shape}), torch.tensor([0]))  # points [B, C, N], classes [B]"
    else:
        file, columns = point_file(spec.input)
        task = architecture_task(spec.architecture)
        category = ', category="Chair"' if task == "part_segmentation" else ""
        call = f'predictor("{file}"{category})'
        call = f"print({call}.top(5))" if task == "point_classification" else f'{call}.save("labels.ply")'
        return f'import zoo\npredictor = zoo.load("{load_name}")\n{call}  # a file of points with {columns}'
    return f'import torch, zoo\nmodel = zoo.create_model("{load_name}", pretrained=True).eval()\n{call}'


def point_file(preprocessing: PointInput) -> tuple[str, str]:
    """The name of a file that can hold what a point model takes, and its columns in words.

    No file but a table has velocity and time, in the order of the features.
    """
    features = [feature for feature in preprocessing.features if feature not in COMPUTED_FEATURES]
    columns = " ".join(("x y z", *(COLUMNS.get(feature, feature) for feature in features)))
    return ("points.txt" if {"velocity", "time"} & set(features) else "scan.ply"), columns


def input_text(preprocessing: VideoInput | PointInput) -> str:
    """How a file becomes the model's input, in a line."""
    if isinstance(preprocessing, VideoInput):
        side = preprocessing.crop_size
        squashed = preprocessing.crop_mode == "squash"
        how = "the whole frame squashed" if squashed else f"short side {preprocessing.resize_size}, centre crop"
        differences = ", differences of successive frames" if preprocessing.frame_differences else ""
        return f"{preprocessing.num_frames} frames of {side} x {side} pixels, sampled uniformly; {how}{differences}"
    features = ", ".join(("xyz", *preprocessing.features))
    how = f"centre {preprocessing.center}, scale {preprocessing.scale}, larger scenes in parts: {preprocessing.parts}"
    return f"{preprocessing.num_points} points at a time ({features}); {how}"


def own_metrics(spec: WeightsSpec) -> list[Metric]:
    """The figures of these weights; tools/add_checkpoint.py calls those of compared networks "... of NETWORK"."""
    known = {*list_models(), *list_models(pretrained=True)}
    return [metric for metric in spec.metrics if metric.name.rpartition(" of ")[2] not in known]


def measurer(metric: Metric) -> str:
    """Who measured a figure, or says so."""
    return "this project" if metric.source.startswith(OUR_TOOLS) else metric.source


def measured_by(metric: Metric) -> str:
    """Who measured a figure, with the command where it was done here."""
    name = measurer(metric)
    return name if name == metric.source else f"{name}, `{metric.source}`"


def figure(metric: Metric) -> str:
    """The value of a figure, with its interval of confidence."""
    ends = f" ({metric.interval[0]:.4g} to {metric.interval[1]:.4g})" if len(metric.interval) == 2 else ""
    return f"{metric.value:.4g}{ends}"


def _dataset(spec: WeightsSpec) -> Any:
    return DATASETS.get(spec.tag.split("_")[0])


def _classes(spec: WeightsSpec) -> str:
    names = spec.class_names
    if not names:
        return "Numbered; no names are known."
    more = f" and {len(names) - MAX_CLASSES} more" if len(names) > MAX_CLASSES else ""
    return textwrap.fill(", ".join(names[:MAX_CLASSES]) + more + ".", 120, break_long_words=False)


def _figures(spec: WeightsSpec) -> str:
    if not spec.metrics:
        return "Not measured."
    rows = ["| figure | value (interval of 95 %) | on | protocol | measured by |", "|---|---|---|---|---|"]
    for metric in spec.metrics:
        cells = (metric.name, figure(metric), metric.dataset, metric.protocol, measured_by(metric))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _licence(licence: str) -> str:
    return f"The weights: {licence}." if licence else "None is given: ask whoever gave you the weights."


def _metadata(spec: WeightsSpec, licence: str, datasets: list[str], tags: list[str]) -> str:
    """What the Hub reads, as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    task, data = TASKS[architecture_task(spec.architecture)], _dataset(spec)
    kind = task.pipeline or task.tags[-1]
    results = [
        EvalResult(
            task_type=kind,
            dataset_type=_slug(data.name if data else metric.dataset.split(",")[0]),
            dataset_name=metric.dataset,
            metric_type=_metric_type(metric),
            metric_name=metric.name,
            metric_value=metric.value,
            metric_args={"protocol": metric.protocol, "measured by": measured_by(metric)},
        )
        for metric in own_metrics(spec)
    ]
    family = spec.architecture.split("_")[0]
    card = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag=task.pipeline,
        license=licence.lower() or None,
        datasets=datasets or ([data.name] if data else None),
        tags=list(dict.fromkeys([*task.tags, family, "pytorch", *tags])),
        model_name=spec.name,
        eval_results=results or None,
    )
    return card.to_yaml()


def _metric_type(metric: Metric) -> str:
    """The Hub's name of a figure."""
    return next((hub for word, hub in HUB_METRICS.items() if word in metric.name.lower()), _slug(metric.name))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
