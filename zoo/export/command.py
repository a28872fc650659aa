"""``zoo export``: a model as a file for a runtime."""

from __future__ import annotations

import argparse
from typing import Any

from zoo.errors import ZooError
from zoo.export.files import FORMATS, SUFFIXES, export_model


def add_parser(commands: Any) -> None:
    """Add the command to the sub-parsers of ``zoo``."""
    parser = commands.add_parser("export", help="write a model as a file for a runtime, once the file agrees with it")
    parser.add_argument("name", help="a model with weights, see `zoo list --pretrained`")
    parser.add_argument("--to", required=True, choices=FORMATS, help="pt2: machine code for this processor")
    endings = ", ".join(f"{suffix} for {to}" for to, suffix in SUFFIXES.items())
    parser.add_argument("--out", required=True, metavar="FILE", help=endings)
    parser.add_argument("--checkpoint", metavar="FILE", help="these weights instead, as `zoo convert` reads them")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> None:
    """Write the file.

    Raises:
        ZooError: see :func:`zoo.export_model`.
    """
    from zoo.create import create_model
    from zoo.data.outputs import check_output

    check_output(options.out, (SUFFIXES[options.to],))
    pretrained = options.checkpoint is None
    model: Any = create_model(options.name, pretrained=pretrained, checkpoint=options.checkpoint)
    if model.num_classes == 0:
        raise ZooError(f"{model.spec.name} has no classifier: there is nothing to predict with it")
    path = export_model(model, options.out, options.to)
    print(f"{path}: {model.spec.name}, which agrees with the model; `zoo predict {path} FILE` runs it")
