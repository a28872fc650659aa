"""Where frames come from: files whole, cameras whatever happens to them, and one sentence where there is nothing."""

import itertools
import logging
import time

import numpy as np
import pytest

from zoo.data.video_writer import write_video
from zoo.errors import InputError
from zoo.live import sources
from zoo.live.sources import open_source

pytest.importorskip("av")
from tests.live.camera import Camera, transport_stream


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, (np.full((64, 64, 3), 8 * i, np.uint8) for i in range(20)), fps=20)
    return path


def levels(frames):
    return [round(float(frame.picture.mean())) for frame in frames]


def test_a_file_is_read_whole(clip):
    source = open_source(str(clip))
    frames = list(source)
    assert not source.is_live and source.fps == 20
    assert levels(frames) == pytest.approx([8 * i for i in range(20)], abs=5)
    assert [frame.number for frame in frames] == list(range(20)) and frames[-1].seconds == pytest.approx(0.95)


def test_a_folder_of_frames_is_read_in_the_order_of_its_numbers(tmp_path):
    from PIL import Image

    for number in (1, 2, 10):
        Image.new("RGB", (32, 24), (number, 0, 0)).save(tmp_path / f"img_{number}.png")
    assert [int(frame.picture[0, 0, 0]) for frame in open_source(str(tmp_path))] == [1, 2, 10]


def test_a_file_can_come_at_its_own_speed_and_be_stopped(clip):
    source = open_source(str(clip), real_time=True)
    began = time.perf_counter()
    frames = list(itertools.islice(source, 10))
    assert source.is_live and frames[-1].arrived - began >= 0.45
    source.close()
    assert len(list(source)) <= 1


def test_a_recording_at_an_address_ends(clip):
    assert len(list(open_source(clip.as_uri()))) == len(list(open_source(str(clip))))


def test_a_device_of_ffmpeg_is_a_camera():
    source = open_source("lavfi:color=c=red:size=32x24:rate=30")
    frame = next(iter(source))
    source.close()
    assert source.is_live and source.fps == 30
    assert frame.picture.shape == (24, 32, 3) and frame.picture[..., 0].min() > 200


class Returns(logging.Handler):
    """Brings a larger and brighter camera to the port when it was looked for in vain."""

    def __init__(self, port):
        super().__init__()
        self.port, self.camera, self.told = port, None, []

    def emit(self, record):
        self.told.append(record.getMessage())
        if len(self.told) == 2:
            self.camera = Camera(transport_stream(180, height=128, width=192), port=self.port)


def test_a_camera_that_disappears_and_comes_back_goes_on(monkeypatch):
    monkeypatch.setattr(sources, "FIRST_PAUSE_S", 0.05)
    camera = Camera(transport_stream(60))
    returns = Returns(camera.port)
    sources.log.addHandler(returns)
    frames = []
    try:
        source = open_source(camera.address)
        camera.close()  # it serves who has come, nobody else
        for frame in source:
            frames.append(frame)
            if frame.opening:
                break
        source.close()
    finally:
        sources.log.removeHandler(returns)
    returns.camera.close()
    assert [frame.opening for frame in frames] == [0] * (len(frames) - 1) + [2] and len(frames) > 20
    assert levels([frames[0], frames[-1]]) == pytest.approx([60, 180], abs=4)
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert {frame.picture.shape for frame in frames} == {(64, 96, 3)}  # though the other one is larger
    assert "is away (it ended): trying again in 0.05 s" in returns.told[0]
    assert "cannot be opened (connection refused)): trying again in 0.1 s" in returns.told[1]


def test_a_camera_that_falls_silent_is_opened_again(monkeypatch):
    monkeypatch.setattr(sources, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(sources, "READ_TIMEOUT_S", 0.3)
    monkeypatch.setattr(sources, "OPEN_TIMEOUT_S", 1.0)
    camera = Camera(*[transport_stream(60, frames=150)] * 2, stay=True)
    source = open_source(camera.address)
    openings = set()
    for frame in source:
        openings.add(frame.opening)
        if frame.opening:
            break
    source.close()
    camera.close()
    assert openings == {0, 1}


@pytest.mark.parametrize(
    "source",
    ["nothing.mp4", "63", "rtsp://127.0.0.1:1/door", "tcp://127.0.0.1:1", "lavfi:nonsense", "nonsense://127.0.0.1"],
)
def test_what_cannot_be_opened_is_one_sentence(source):
    with pytest.raises(InputError) as caught:
        open_source(source)
    text = str(caught.value)
    assert "\n" not in text and source.removeprefix("lavfi:") in text
    assert "cannot be opened (" in text or "is not there" in text


def test_sound_alone_is_no_camera():
    with pytest.raises(InputError, match="no pictures"):
        open_source("lavfi:sine[out0]")
