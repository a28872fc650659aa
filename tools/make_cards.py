"""Write model_cards/*.md and the README's table of checkpoints from the registry: `make cards`."""

from __future__ import annotations

import argparse
import os
import sys
from functools import cache
from pathlib import Path

import torch

from zoo import hub
from zoo.bench.latency_text import latency_text, read_reports
from zoo.bench.record import Report
from zoo.cli import exit_code
from zoo.errors import ZooError
from zoo.hub.card import figure, measurer, own_metrics
from zoo.hub.sources import BundledFile, HubFile, Source, sources_of
from zoo.registry import architecture_task, find_builder, find_weights, list_models
from zoo.weights import WeightsSpec

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- made by `make cards`: begin -->\n", "<!-- made by `make cards`: end -->\n"
IN_TABLE = 2  # figures a model


def pages() -> dict[Path, str]:
    """What every generated file should hold."""
    os.environ.pop("ZOO_HUB_ORG", None)  # cards do not tell of anybody's own repositories
    names = list_models(pretrained=True)
    cards = {ROOT / f"model_cards/{name}.md": card(name) for name in names}
    readme = ROOT / "README.md"
    text = readme.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ZooError(f"{readme} lacks the two comments between which the table of weights stands: restore them")
    before, rest = text.split(BEGIN)
    return cards | {readme: before + BEGIN + table(names) + END + rest.split(END)[1]}


def card(name: str) -> str:
    """The card of ``name``."""
    spec = find_weights(name)
    arguments = tuple((key, value) for key, value in spec.model_args.items() if key != "num_frames")
    parameters = count_parameters(spec.architecture, spec.num_classes, arguments)
    places = "\n".join(f"- {source_text(source, spec)}" for source in sources_of(spec))
    latency = latency_text(spec, measured())
    return hub.model_card(spec, name, parameters, weights=f"Looked for in this order:\n\n{places}", latency=latency)


@cache
def measured() -> list[Report]:
    """What ``zoo bench --out model_cards/results`` measured."""
    return read_reports(ROOT / "model_cards/results")


@cache
def count_parameters(architecture: str, num_classes: int, arguments: tuple[tuple[str, object], ...]) -> int:
    """How many parameters a model has; building one takes a while."""
    with torch.device("meta"):
        model = find_builder(architecture)(num_classes=num_classes, **dict(arguments))
    return sum(parameter.numel() for parameter in model.parameters())


def source_text(source: Source, spec: WeightsSpec) -> str:
    """Where weights lie, and what their hash is worth."""
    if isinstance(source, BundledFile):
        return f"`{source}`, which comes with the package: {spec.size / 1e6:.1f} MB, sha256 `{spec.sha256}`."
    if isinstance(source, HubFile):
        return f"`{source}`, another project's, converted; its hash is the one that the Hub publishes."
    known = (
        f"its sha256 is `{source.sha256}`, as published" if source.sha256 else "its hash is not published: the first "
    )
    known += "" if source.sha256 else "download's is recorded in the cache and compared from then on"
    return f"{' or '.join(f'<{url}>' for url in (source.url, *source.mirrors))}, the authors', converted; {known}."


def table(names: list[str]) -> str:
    """The README's table."""
    rows = ["| name | task | figures | measured by | weights |", "|---|---|---|---|---|"]
    for name in sorted(names, key=lambda name: not isinstance(sources_of(find_weights(name))[0], BundledFile)):
        spec = find_weights(name)
        metrics = own_metrics(spec)[:IN_TABLE]
        twice = len({metric.name for metric in metrics}) < len(metrics)  # then the protocols tell them apart
        figures = "; ".join(
            f"{metric.name} {figure(metric)} on {metric.dataset}" + (f" ({metric.protocol})" if twice else "")
            for metric in metrics
        )
        measurers = "; ".join(dict.fromkeys(measurer(metric) for metric in metrics))
        link = f"[`{name}`](model_cards/{name}.md)"
        task = architecture_task(spec.architecture).replace("_", " ")
        first = sources_of(spec)[0]
        place = "come along" if isinstance(first, BundledFile) else "are downloaded"
        cells = (link, task, figures or "none reported", measurers, f"{place}; {spec.licence}")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def stale(wanted: dict[Path, str]) -> list[Path]:
    """The generated files that differ from what they should hold, and cards of models that are gone."""
    found = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    return found + [path for path in sorted((ROOT / "model_cards").glob("*.md")) if path not in wanted]


def make(check: bool) -> int:
    """Write what is stale, or only list it; 1 where ``check`` finds something."""
    wanted = pages()
    files = stale(wanted)
    for path in files:
        print(path.relative_to(ROOT))
        if not check:
            path.write_text(wanted[path]) if path in wanted else path.unlink()
    return int(check and bool(files))


def main() -> int:
    """Read the arguments and make the files; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a file is stale")
    options = parser.parse_args()
    return exit_code(lambda: make(options.check))


if __name__ == "__main__":
    sys.exit(main())
