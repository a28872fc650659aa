"""``zoo live``: the picture of a camera, a stream or a file with what an online model says of it."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from contextlib import ExitStack, closing
from typing import Any

from zoo.arguments import positive
from zoo.errors import InputError, ZooError
from zoo.live.smoothing import PRESETS, Rules, preset_for
from zoo.signals import collect_signals

POLL_S = 0.05  # how long a frame is waited for before the window and signals are looked after


def add_parser(commands: Any) -> None:
    """Add the command to those of ``zoo``."""
    live = commands.add_parser("live", help="follow a camera, a stream or a file with an online model")
    live.add_argument("name", help="an online model with weights, see `zoo list '*_online' --pretrained`")
    live.add_argument(
        "--source",
        required=True,
        help="the number of a camera, an address such as rtsp://..., a video file, a folder of frames, or one of "
        "FFmpeg's capturing devices such as avfoundation:0",
    )
    live.add_argument("--runtime", default="auto", help="what computes the model; by default the fastest here")
    live.add_argument("--device", help="such as cpu or cuda:0")
    live.add_argument("--threads", type=positive, metavar="N", help="that the model computes with")
    live.add_argument("--out", metavar="FILE.mp4", help="write what is shown")
    live.add_argument("--no-display", action="store_true", help="open no window")
    live.add_argument("--real-time", action="store_true", help="play a file at its speed; frames are dropped as needed")
    live.add_argument("--stats", action="store_true", help="print where the time went")
    rules = live.add_argument_group("decisions", "how they follow from logits (see zoo.live.smoothing.Rules)")
    rules.add_argument("--rules", choices=PRESETS, help="'demo' are those of TSM's authors; by default what fits")
    rules.add_argument("--window", type=int, metavar="N", help="average the logits of so many steps")
    rules.add_argument("--enter", type=float, metavar="P", help="decide for a class from this probability")
    rules.add_argument("--leave", type=float, metavar="P", help="give it up under this one")
    rules.add_argument("--dwell", type=int, metavar="N", help="stay with it for so many steps at least")
    rules.add_argument("--nothing", metavar="CLASS", help="the class for when nothing happens")
    rules.add_argument("--every", type=int, metavar="N", help="let the model see one frame of so many")
    live.set_defaults(command=run)


def run(options: argparse.Namespace) -> None:
    """Follow the source until it ends, the window is closed, or the process is interrupted."""
    from zoo.data.outputs import check_output
    from zoo.data.video_writer import VIDEO_OUTPUTS, writing_video
    from zoo.export import OptimizedModel, optimize
    from zoo.live.following import Following
    from zoo.live.sources import open_source
    from zoo.live.streams import Streams, spec_of
    from zoo.live.window import Window
    from zoo.predict import load

    if options.out:
        check_output(options.out, VIDEO_OUTPUTS)
    predictor = load(options.name, options.device, options.threads)
    rules = _rules(options, predictor.class_names)
    Streams(predictor.model, rules=rules)  # what does not fit is said before anything is opened or optimised
    spec = spec_of(predictor.model)
    if len(spec.input.mean) != 3:
        raise InputError(f"{spec.name} takes flow and no pictures: take a model of RGB")
    source = open_source(options.source, options.real_time)
    with ExitStack() as opened:
        window = None if options.no_display else _window(Window, spec.name, bool(options.out), opened)
        model = predictor.model
        if isinstance(model, OptimizedModel):
            if options.runtime not in ("auto", model.runtime):
                raise InputError(f"{options.name} is for the runtime {model.runtime}: leave --runtime out")
        else:
            if options.runtime == "auto":
                print("choosing the fastest runtime, which may take a minute ...", file=sys.stderr, flush=True)
            model = optimize(model, runtime=options.runtime, num_threads=options.threads)
        print(f"{spec.name} in {model.runtime}, {model.precision}", flush=True)
        signals = opened.enter_context(collect_signals())  # an exception in the middle would cost the recording
        write = opened.enter_context(writing_video(options.out, source.fps)) if options.out else None
        following = Following(source, Streams(model, rules=rules), predictor.transform, write)
        _show(following, window, signals)
        if signals:
            print("interrupted")
        print(following.stopwatch.summary())
        if options.stats:
            print(following.stopwatch.table())


def _show(following: Any, window: Any, signals: list[int]) -> None:
    """Show every frame, and say every decision that is another than the last, until there is a signal."""
    label = None
    with closing(following.polling(POLL_S)) as frames:  # nothing is at work on them when this is left, whatever for
        for shown in frames:
            if shown is not None and shown.decision.label != label:
                label = shown.decision.label
                print(f"{shown.frame.seconds:8.1f} s  {shown.decision.score:4.0%}  {label}", flush=True)
            if window is not None:
                if shown is not None:
                    window.show(shown.picture)
                if not window.update():
                    return
            if signals:
                return


def _window(kind: Any, title: str, is_recorded: bool, opened: ExitStack) -> Any:
    """A window; where there can be none but a file is written, a word about that."""
    try:
        window = kind(title)
    except ZooError as error:
        if not is_recorded:
            raise
        print(f"warning: {error}", file=sys.stderr)
        return None
    opened.callback(window.close)
    return window


def _rules(options: argparse.Namespace, class_names: tuple[str, ...]) -> Rules:
    """The preset, with what was said otherwise."""
    rules = PRESETS[options.rules] if options.rules else preset_for(class_names)
    names = ("window", "enter", "leave", "dwell", "nothing", "every")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return dataclasses.replace(rules, **given)
