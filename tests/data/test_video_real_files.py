import os
from pathlib import Path

import pytest
import torch

from zoo.data.video import DecordReader, open_video, read_clip, stream_video
from zoo.errors import InputError

pytestmark = pytest.mark.skipif("ZOO_TEST_DATA" not in os.environ, reason="ZOO_TEST_DATA names no folder of real files")
CLIPS = Path(os.environ.get("ZOO_TEST_DATA", ".")) / "video" / "clips"


def sequentially(path, limit=80):
    """The first frames of a video, decoded one after another."""
    import av

    frames = []
    with av.open(str(path)) as container:
        for picture in container.decode(container.streams.best("video")):
            frames.append(torch.from_numpy(picture.to_ndarray(format="rgb24")))
            if len(frames) == limit:
                break
    return frames


@pytest.mark.parametrize(
    ("name", "num_frames"),
    [
        ("torchcodec/h265_video.mp4", 10),
        ("torchcodec/h264_10bits.mp4", 30),
        ("torchcodec/h265_10bits.mp4", 30),
        ("torchcodec/av1_video.mkv", 125),
        ("torchcodec/nasa_13013.mp4", 390),
        ("grid_lipreading/id2_vcd_swwp2s.mpg", 75),
        ("decord/unordered.mov", 4),
        ("decord/flipping_a_pancake.mkv", 310),
        ("mmaction2/demo.mp4", 280),
        ("mmaction2/test.avi", 164),
    ],
)
def test_frames_are_those_of_decoding_one_after_another(name, num_frames):
    reader = open_video(CLIPS / name)
    assert reader.num_frames == num_frames
    expected = sequentially(CLIPS / name)
    indices = [index % len(expected) for index in (71, 2, 38, 39, 55)]
    for index, frame in zip(indices, reader.read(indices), strict=True):
        assert torch.equal(frame, expected[index]), index
    assert reader.warnings == ()


def test_frames_are_the_reference_pictures():
    path = CLIPS / "torchcodec" / "nasa_13013.mp4"
    frames = open_video(path).read(range(4))
    for index in range(4):
        expected = torch.load(f"{path}.stream3.frame{index:06d}.pt", weights_only=True)
        assert torch.equal(frames[index], expected)


@pytest.mark.parametrize(
    ("degrees", "shape"), [(0, (320, 568)), (90, (568, 320)), (180, (320, 568)), (270, (568, 320))]
)
def test_a_rotated_video_is_turned_upright_with_one_warning(degrees, shape):
    path = CLIPS / "decord" / f"video_{degrees}.mov"
    clip = read_clip(path, 3)
    turns = degrees // 90
    for frame, expected in zip(clip.frames, sequentially(path), strict=True):
        assert frame.shape[:2] == shape
        assert torch.equal(frame, torch.rot90(expected, -turns, (0, 1)))
    assert len(clip.warnings) == (degrees != 0)
    assert all(f"turned upright by {degrees} degrees" in warning for warning in clip.warnings)
    for frame, expected in zip(stream_video(path), clip.frames, strict=True):
        assert torch.equal(frame, expected)


def test_a_corrupted_video_gives_its_whole_frames_and_refuses_the_others():
    path = CLIPS / "decord" / "corrupted.mp4"
    reader = open_video(path)
    assert isinstance(reader, DecordReader) and reader.num_frames == 50
    expected = sequentially(path, limit=20)
    assert torch.equal(reader.read([0, 7, 19]), torch.stack([expected[index] for index in (0, 7, 19)]))
    for index in (30, 31, 49):
        with pytest.raises(InputError, match=rf"corrupted\.mp4: frame {index} of 50 cannot be decoded; copy"):
            reader.read([index])
    with pytest.raises(InputError, match="cannot be decoded"):
        read_clip(path, 8)


def test_a_real_folder_of_frames_is_read():
    clip = read_clip(CLIPS / "frames_demo" / "jumping" / "0001", 8)
    assert len(clip.frames) == 8 and clip.num_video_frames == 17 and clip.warnings == ()
    assert clip.indices == (1, 3, 5, 7, 9, 11, 13, 15)
