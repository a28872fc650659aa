"""The command line: ``zoo COMMAND``; those with a file of their own are in their room's ``command.py``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from zoo.arguments import positive
from zoo.bench import command as bench
from zoo.errors import InputError, SourceError, UnknownNameError, ZooError
from zoo.export import command as export
from zoo.live import command as live


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see `{self.prog} --help`\n")


INTERRUPTED = 130  # what shells expect after Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 2 where the user has to mend something, 1 where that is some of many files."""
    parser = _build_parser()
    options = parser.parse_args(arguments)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    return exit_code(lambda: options.command(options))


def exit_code(command: Callable[[], int | None], is_told: Callable[[str], bool] = lambda message: True) -> int:
    """Run ``command``: 0 or what it gives; 2, and one sentence on standard error, where something is to be mended.

    After Ctrl-C it is 130, and one word.

    Args:
        command: what is run.
        is_told: whether a sentence is written; of many processes that have the same one, one may do so.
    """
    try:
        return command() or 0
    except ZooError as error:
        if is_told(str(error)):
            print(f"error: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"error: {error}: install the package that is missing or broken", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # who reads it through a pipe has been interrupted too
            print("interrupted", file=sys.stderr, flush=True)
        return INTERRUPTED


def _build_parser() -> _Parser:
    parser = _Parser(prog="zoo", description="Fast video and 3D recognition, from a name and a file to an answer.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="names of models")
    listing.add_argument("pattern", nargs="?", help="a wildcard, such as 'tsm_*'")
    listing.add_argument(
        "--pretrained", action="store_true", help="weights that can be loaded, as arch.tag, and which come along"
    )
    listing.add_argument("--task", help="only models of this task, such as video_classification")
    listing.set_defaults(command=_list)

    info = commands.add_parser("info", help="what is known about a model")
    info.add_argument("name", nargs="?")
    info.add_argument("--ops", action="store_true", help="what computes the operators, and why")
    info.set_defaults(command=_info)

    predict = commands.add_parser("predict", help="run a model on files")
    predict.add_argument("name", help="a model with weights, see `zoo list --pretrained`")
    predict.add_argument("inputs", nargs="+", metavar="FILE", help="a video, a folder of frames, or a point cloud")
    predict.add_argument("--topk", type=positive, default=5, metavar="K", help="how many labels (default: 5)")
    predict.add_argument("--json", action="store_true", help="one JSON object a file")
    predict.add_argument("--save", metavar="PATH", help="an annotated MP4, or a PLY with coloured labels")
    predict.add_argument("--category", help="of the object, for part segmentation")
    predict.add_argument("--device", help="such as cpu or cuda:0")
    _add_organisation(predict)
    predict.set_defaults(command=_predict)

    convert = commands.add_parser("convert", help="another project's checkpoint to safetensors")
    convert.add_argument("source", metavar="IN")
    convert.add_argument("target", metavar="OUT.safetensors")
    convert.add_argument("--model", metavar="ARCH", help="check that every tensor finds its place in this architecture")
    convert.set_defaults(command=_convert)

    pull = commands.add_parser("pull", help="download weights, for later or for a machine without a network")
    pull.add_argument("names", nargs="+", metavar="NAME", help="as for predict")
    pull.add_argument(
        "--to", metavar="FOLDER", help="write FOLDER/NAME too, which local-dir:FOLDER/NAME loads anywhere"
    )
    _add_organisation(pull)
    pull.set_defaults(command=_pull)

    verify = commands.add_parser("verify", help="look whether weights on this machine are what they were")
    verify.add_argument("names", nargs="*", metavar="NAME", help="as for predict")
    verify.add_argument("--all", action="store_true", help="all that came with the zoo or are in the cache")
    verify.set_defaults(command=_verify)

    push = commands.add_parser("push", help="publish a model on the Hub; shows what it would do, unless --yes")
    push.add_argument("folder", help="as zoo.save_pretrained or training writes it, such as out/run/best")
    push.add_argument("repository", metavar="OWNER/NAME")
    push.add_argument("--licence", help="of the weights, an SPDX identifier such as Apache-2.0")
    push.add_argument("--private", action="store_true", help="a repository that only its owner sees")
    push.add_argument("--yes", action="store_true", help="do it")
    push.set_defaults(command=_push)

    live.add_parser(commands)
    bench.add_parser(commands)
    export.add_parser(commands)

    building = commands.add_parser("build-ops", help="compile the operators for this machine")
    building.add_argument("--force", action="store_true", help="also where they are built already")
    building.add_argument("--sanitize", action="store_true", help="with sanitisers, for `make sanitize`")
    building.set_defaults(command=_build_ops)
    return parser


def _add_organisation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hub-org", metavar="NAME", help="on the Hub, whose copies are tried first (ZOO_HUB_ORG)")


def _list(options: argparse.Namespace) -> None:
    import zoo
    from zoo import hub
    from zoo.registry import nearest_names

    names = zoo.list_models(options.pattern, task=options.task, pretrained=options.pretrained or None)
    if not names and options.pattern:
        kind = "weights match" if options.pretrained else "model matches"
        task = f" of {options.task}" if options.task else ""
        nearest = ", ".join(nearest_names(options.pattern))
        raise UnknownNameError(f"no {kind} {options.pattern!r}{task}; the nearest names are {nearest}")
    bundled = hub.bundled_names() if options.pretrained else []
    width = max(map(len, names), default=0)
    for name in names:
        print(f"{name:<{width}}  comes along" if name in bundled else name)


def _info(options: argparse.Namespace) -> None:
    from zoo.info import describe_model
    from zoo.ops import backends

    if not options.ops and options.name is None:
        raise ZooError("name a model, see `zoo list`, or ask for --ops")
    if options.ops:
        print(f"operators:    {backends.why()}")
    if options.name is None:
        return
    for label, value in describe_model(options.name).items():
        print(f"{label + ':':<13} {value}")


def _predict(options: argparse.Namespace) -> int:
    """Predict file after file; 0, or 1 where some of them could not be predicted, and 2 where none could."""
    import zoo
    from zoo.data.outputs import check_output

    if options.save and len(options.inputs) > 1:
        raise ZooError("--save takes one file: predict the others without it")
    _use_organisation(options)
    predictor = zoo.load(options.name, options.device)
    if options.save:
        check_output(options.save, predictor.saved_as)
    failures = 0
    for path in options.inputs:
        try:
            prediction = predictor(path, category=options.category)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            failures += 1
            continue
        if options.json:
            print(json.dumps(prediction.to_json(options.topk), allow_nan=False))
        else:
            print(f"{path}, by {prediction.model}")
            for label, score in prediction.top(options.topk):
                print(f"  {score:7.2%}  {label}")
            print("  " + ", ".join(f"{stage} {ms:.1f} ms" for stage, ms in prediction.timings_ms.items()))
        if options.save:
            prediction.save(options.save)
    return 2 if failures == len(options.inputs) else int(failures > 0)


def _convert(options: argparse.Namespace) -> None:
    from zoo.convert import read_checkpoint
    from zoo.create import create_model, matching_architectures
    from zoo.data.outputs import check_output
    from zoo.hub import write_weights

    checkpoint = read_checkpoint(options.source)
    target = check_output(options.target, (".safetensors",))
    if target.exists() and target.samefile(options.source):
        raise ZooError(f"{target} is the checkpoint itself: give another path to write to")
    if options.model:
        model: Any = create_model(options.model, checkpoint=options.source)
        matches = [(options.model, model.load_report)]
    else:
        matches = matching_architectures(checkpoint)
    try:
        write_weights(target, checkpoint.state_dict, checkpoint.metadata())
    except OSError as error:
        raise ZooError(f"{target} cannot be written ({error.strerror}): choose another path") from error
    print(f"{matches[0][1]} in {', '.join(name for name, _ in matches)} -> {target}")


def _use_organisation(options: argparse.Namespace) -> None:
    if options.hub_org:
        os.environ["ZOO_HUB_ORG"] = options.hub_org


def _pull(options: argparse.Namespace) -> None:
    """Load each of the weights, which puts them into the cache, and write a folder of them where one is wanted."""
    from pathlib import Path

    import zoo
    from zoo import hub

    _use_organisation(options)
    for name in options.names:
        model: Any = zoo.create_model(name, pretrained=True)
        print(f"{name}: {model.load_report.found_at}")
        with contextlib.suppress(SourceError):  # a repository need not have any
            hub.fetch_golden(name)
        if options.to:
            own = name.removeprefix("hf-hub:").partition("@")[0].replace("/", "--")
            folder = Path(options.to) / (own if name.startswith("hf-hub:") else model.spec.name)
            zoo.save_pretrained(model, folder)
            print(f"  -> local-dir:{folder}")


def _verify(options: argparse.Namespace) -> int:
    """Verify each of the weights; 0, or 1 where something is wrong with some of them, and 2 where with all."""
    import zoo.create  # noqa: F401  (registers the weights)
    from zoo import hub

    names = [*options.names, *(hub.verifiable() if options.all else ())]
    if not names:
        raise ZooError("name weights, see `zoo list --pretrained`, or ask for --all")
    failures = 0
    for name in names:
        try:
            print(f"{name}: {hub.verify(name)}")
        except ZooError as error:
            print(f"error: {error}", file=sys.stderr)
            failures += 1
    return 2 if failures == len(names) else int(failures > 0)


def _push(options: argparse.Namespace) -> None:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from zoo import hub
    from zoo.create import create_model

    model = create_model(f"local-dir:{options.folder}", pretrained=True)
    with TemporaryDirectory() as temporary:
        staged = Path(temporary)
        hub.stage(Path(options.folder), staged, model, options.repository, options.licence)
        try:
            hub.check_publishable(staged, model)
        except ZooError as error:  # of a copy that nobody knows
            raise ZooError(str(error).replace(str(staged), options.folder)) from error
        print(f"{options.repository}, {'private' if options.private else 'for everybody to see'}:")
        for name in hub.repository_files(staged):
            print(f"  {(staged / name).stat().st_size:>12,} bytes  {name}")
        print((staged / hub.CARD_NAME).read_text())
        if not options.yes:
            print("nothing was uploaded: --yes does it")
            return
        print(hub.upload(staged, model, options.repository, private=options.private or None))


def _build_ops(options: argparse.Namespace) -> None:
    from zoo.ops import build

    if options.sanitize and not os.environ.get("ZOO_CACHE"):
        raise ZooError("ZOO_CACHE must name a folder of its own for a build with sanitisers: it is much slower")
    try:
        built = [path for name in ("_C_cpu", "_C_cuda") if (path := build.find_library(name))]
        lack = build.why_no_cuda()
        if built and (len(built) == 2 or lack or options.sanitize) and not options.force:
            print("the operators are built already: " + ", ".join(map(str, built)))
        else:
            print(build.announcement(options.sanitize), file=sys.stderr, flush=True)
            print("\n".join(map(str, build.build(build.cache_folder(), options.sanitize))))
        if lack and not options.sanitize:
            print(f"without CUDA kernels: {lack}")
    except build.BuildError as error:
        raise ZooError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
