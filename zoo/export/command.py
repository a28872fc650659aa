"""``zoo export``: a model as a file for a runtime."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zoo.errors import InputError, ZooError
from zoo.export.files import FORMATS, SUFFIXES, export_model


def add_parser(commands: Any) -> None:
    """Add the command to the sub-parsers of ``zoo``."""
    parser = commands.add_parser("export", help="write a model as a file for a runtime, once the file agrees with it")
    parser.add_argument("name", help="a model with weights, see `zoo list --pretrained`")
    parser.add_argument("--to", required=True, choices=FORMATS, help="pt2: machine code for this processor")
    endings = ", ".join(f"{suffix} for {to}" for to, suffix in SUFFIXES.items())
    parser.add_argument("--out", required=True, metavar="FILE", help=endings)
    parser.add_argument("--checkpoint", metavar="FILE", help="these weights instead, as `zoo convert` reads them")
    parser.add_argument(
        "--example", metavar="FILE", help="a clip or a cloud as in use, on which what is written is compared too"
    )
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help="(default: fp32)")
    parser.add_argument(
        "--calibration", metavar="FOLDER", help="for int8: some tens of clips or clouds as in use; they show its ranges"
    )
    parser.add_argument("--sensitivity", metavar="FILE.md", help="of int8: write which layers suffer from it")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> None:
    """Write the file.

    Raises:
        ZooError: see :func:`zoo.export_model`.
    """
    from zoo.create import create_model
    from zoo.data.outputs import check_output
    from zoo.export.calibration import calibration_list, file_input
    from zoo.export.sensitivity import layer_sensitivity, sensitivity_report

    check_output(options.out, (SUFFIXES[options.to],))
    is_int8 = options.precision == "int8"
    if not is_int8 and (options.calibration or options.sensitivity):
        raise InputError("--calibration and --sensitivity are for int8: add --precision int8, or leave them out")
    if is_int8 and not options.calibration:
        raise InputError("int8 needs --calibration FOLDER: some tens of clips or clouds as the model gets them in use")
    if is_int8 and options.example:
        raise InputError("an int8 file is compared on its calibration set: leave out --example")
    if options.sensitivity:
        check_output(options.sensitivity, (".md",))
    pretrained = options.checkpoint is None
    model: Any = create_model(options.name, pretrained=pretrained, checkpoint=options.checkpoint)
    if model.num_classes == 0:
        raise ZooError(f"{model.spec.name} has no classifier: there is nothing to predict with it")
    calibration = calibration_list(model, options.calibration) if is_int8 else None
    example = file_input(model, options.example) if options.example else None
    path = export_model(model, options.out, options.to, example, calibration)
    if is_int8:
        compared = "the last of your files"
    else:
        compared = f"{options.example} and on noise" if options.example else "noise (--example FILE: on yours too)"
    print(f"{path}: agrees with {model.spec.name} on {compared}; `zoo predict {path} FILE` runs it", flush=True)
    if calibration is not None and options.sensitivity:
        report = sensitivity_report(model.spec.name, layer_sensitivity(model, calibration))
        try:
            Path(options.sensitivity).write_text(report)
        except OSError as error:
            raise InputError(f"{options.sensitivity} cannot be written ({error.strerror})") from error
        print(f"{options.sensitivity}: which layers suffer from int8")
