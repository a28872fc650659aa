"""A stream from its frames to annotated pictures: nothing of a file is lost, and a camera is never fallen behind."""

import dataclasses

import numpy as np
import pytest
import torch

import zoo
from zoo.data.video import read_clip
from zoo.data.video_writer import write_video, writing_video
from zoo.errors import InputError
from zoo.live.following import Following, Recorder, Shown, Status
from zoo.live.smoothing import PRESETS, Rules
from zoo.live.sources import Frame, open_source
from zoo.live.stopwatch import Stage, Stopwatch
from zoo.live.streams import Streams

FRAMES = 24


@pytest.fixture(scope="module")
def predictor(gesture_model):
    return zoo.load(gesture_model, "cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    pictures = np.random.default_rng(0).integers(0, 255, (FRAMES, 8, 10, 3), dtype=np.uint8)
    write_video(path, (each.repeat(16, 0).repeat(16, 1) for each in pictures), fps=20)
    return path


class Cut:
    """A camera that was away after every third frame."""

    is_live, fps = False, 20.0

    def __iter__(self):
        generator = np.random.default_rng(0)
        for number in range(9):
            picture = generator.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            yield Frame(picture, number, number / self.fps, 0.0, number // 3)

    def close(self):
        pass


def decided(predictor, streams, shown):
    """What streams decide of the same frame, summed on another thread."""
    picture = torch.from_numpy(shown.frame.picture).permute(2, 0, 1)[None]
    decision = streams.step({0: predictor.transform(picture)[0]})[0]
    return dataclasses.replace(decision, score=pytest.approx(decision.score, abs=1e-5))


def follow(predictor, source, rules=PRESETS["plain"], **options):
    return Following(source, Streams(predictor.model, rules=rules), predictor.transform, **options)


@pytest.mark.parametrize("overlap", [True, False])
def test_a_file_is_followed_whole_and_written(predictor, clip, tmp_path, overlap):
    with writing_video(tmp_path / "out.mp4", 20) as write:
        following = follow(predictor, open_source(str(clip)), write=write, overlap=overlap)
        shown = list(following)
    streams = Streams(predictor.model)
    for each in shown:
        assert each.decision == decided(predictor, streams, each)
    assert [each.frame.number for each in shown] == list(range(FRAMES)) and following.stopwatch.dropped == 0
    written = read_clip(tmp_path / "out.mp4", FRAMES)
    assert written.num_video_frames == FRAMES and written.frames.shape[1:3] == (384, 480)  # enlarged for the text
    watch = following.stopwatch
    assert list(watch.stages) == ["decode", "prepare", "model", "draw", "write"]
    assert watch.summary().startswith("24 frames in ") and "attainable" in watch.table()
    assert "latency" not in watch.summary(), "that frames of a file wait for others is no latency"
    assert 0 < watch.attainable_seconds() <= watch.seconds * 1.05


def test_a_late_model_drops_frames_and_does_not_fall_behind(predictor, tmp_path):
    path = tmp_path / "fast.mp4"
    write_video(path, np.zeros((120, 64, 64, 3), np.uint8), fps=2000)  # faster than anything here
    following = follow(predictor, open_source(str(path), real_time=True))
    shown = list(following)
    assert following.stopwatch.dropped > 0
    assert len(shown) + following.stopwatch.dropped == 120
    assert shown[-1].frame.number == 119, "the newest frame is what is shown"
    assert "dropped" in following.stopwatch.summary() and "latency" in following.stopwatch.summary()


def test_after_a_camera_was_away_its_stream_begins_afresh(predictor):
    shown = list(follow(predictor, Cut(), rules=PRESETS["steady"]))
    for opening in range(3):
        streams = Streams(predictor.model, rules=PRESETS["steady"])
        for each in shown[3 * opening : 3 * opening + 3]:
            assert each.decision == decided(predictor, streams, each)


def test_the_model_sees_one_frame_of_so_many(predictor):
    source = Cut()
    everything = [each.decision for each in follow(predictor, source, rules=Rules(every=2))]
    assert len(everything) == 9
    assert everything[0] == everything[1] and everything[3] == everything[4], "it is shown until the next one"
    assert everything[2] != everything[1] and everything[3] != everything[2], "a new scene is seen at once"


def test_who_stops_watching_keeps_what_was_written(predictor, clip, tmp_path):
    with writing_video(tmp_path / "out.mp4", 20) as write:
        for shown in follow(predictor, open_source(str(clip)), write=write):
            if shown.frame.number == 5:
                break
    assert 6 <= read_clip(tmp_path / "out.mp4", 1).num_video_frames < FRAMES


def test_a_damaged_frame_ends_it_with_one_sentence_and_no_file(predictor, clip, tmp_path):
    data = bytearray(clip.read_bytes())
    middle = data.index(b"mdat") + (data.index(b"moov") - data.index(b"mdat")) // 2
    data[middle : middle + 400] = bytes(400)
    (tmp_path / "damaged.mp4").write_bytes(data)
    with pytest.raises(InputError, match="damaged"), writing_video(tmp_path / "out.mp4", 20) as write:
        list(follow(predictor, open_source(str(tmp_path / "damaged.mp4")), write=write))
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.mp4"]


def test_a_recording_lasts_as_long_as_what_was_seen():
    written = []
    recorder = Recorder(written.append, fps=10, is_live=True)
    at = [0.0, 0.1, 0.13, 0.2, 0.6, 60.0, 60.1]  # one too early, one late, and one after the camera was away
    for number, seconds in enumerate(at):
        frame = Frame(np.zeros((1, 1, 3), np.uint8), number, seconds, 0.0)
        recorder(dataclasses.replace(Shown(frame), picture=number))
    assert written == [0, 1, 3, 4, 4, 4, 4, 5, 6]


def test_the_work_on_a_frame_is_that_of_its_stages():
    watch = Stopwatch(stages={"decode": Stage(2, 0.5, 0.125), "model": Stage(2, 3.0, 0.25)})
    assert watch.work == 0.375


def test_figures_on_the_picture_can_be_read():
    status = Status()
    first = status(0.0123)
    assert first == "latency 12 ms"
    assert status(0.5) == first, "they do not change from frame to frame"
