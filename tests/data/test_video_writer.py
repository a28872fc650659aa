import numpy as np
import pytest
import torch

from zoo.data.video import read_clip
from zoo.data.video_writer import write_annotated_video, write_video
from zoo.errors import InputError


def stripes(num_frames, height=64, width=96):
    """Frames of one grey each, darker to brighter."""
    levels = torch.linspace(20, 220, num_frames).to(torch.uint8)
    return levels.view(-1, 1, 1, 1).expand(num_frames, height, width, 3).contiguous()


def test_a_written_video_is_h264_for_browsers_and_reads_back(tmp_path):
    import av

    frames = stripes(12)
    write_video(tmp_path / "a.mp4", frames, fps=12.5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert context.pix_fmt == "yuv420p"
        assert context.name == ("h264" if "libx264" in av.codecs_available else "mpeg4")
    clip = read_clip(tmp_path / "a.mp4", 12)
    assert clip.fps == pytest.approx(12.5) and clip.num_video_frames == 12
    assert (clip.frames.float() - frames.float()).abs().max() < 8


def test_nothing_is_printed(tmp_path, capfd):
    write_video(tmp_path / "a.mp4", stripes(3), fps=5)
    assert capfd.readouterr() == ("", "")


def test_colours_keep_their_order(tmp_path):
    red = torch.zeros(4, 64, 64, 3, dtype=torch.uint8)
    red[..., 0] = 200
    write_video(tmp_path / "a.mp4", red, fps=5)
    r, g, b = read_clip(tmp_path / "a.mp4", 1).frames.float().mean((0, 1, 2))
    assert r > 180 and g < 20 and b < 20


def test_odd_sizes_are_made_even_and_frames_may_come_one_by_one(tmp_path):
    write_video(tmp_path / "a.mp4", (np.full((33, 51, 3), 10 * i, np.uint8) for i in range(5)), fps=5)
    assert read_clip(tmp_path / "a.mp4", 5).frames.shape == (5, 34, 52, 3)


def test_small_frames_are_enlarged_so_that_the_text_can_be_read(tmp_path):
    frames = stripes(4, 100, 80)
    write_annotated_video(tmp_path / "a.mp4", frames, 4, ["wave 90.0%"])
    assert read_clip(tmp_path / "a.mp4", 4).frames.shape == (4, 400, 320, 3)


def test_the_bar_is_as_long_as_the_percentage(tmp_path):
    frames = torch.zeros(2, 400, 400, 3, dtype=torch.uint8)
    blue = []
    for score in (20, 90):
        write_annotated_video(tmp_path / "a.mp4", frames, 2, [f"x {score}%"])
        bottom = read_clip(tmp_path / "a.mp4", 1).frames[0, -40:].float()
        blue.append(float((bottom[..., 2] > bottom[..., 0] + 60).any(0).float().mean()))
    assert blue == pytest.approx([0.2, 0.9], abs=0.05)


def test_the_text_lies_at_the_bottom_and_leaves_the_picture_alone(tmp_path):
    frames = torch.full((2, 400, 400, 3), 60, dtype=torch.uint8)
    write_annotated_video(tmp_path / "a.mp4", frames, 2, ["a label", "a much longer label " * 5])
    frame = read_clip(tmp_path / "a.mp4", 1).frames[0].float()
    assert (frame[:300] - 60).abs().max() < 6
    assert frame[320:].max() > 200


def test_every_frame_may_have_its_own_lines(tmp_path):
    frames = torch.zeros(3, 320, 320, 3, dtype=torch.uint8)
    write_annotated_video(tmp_path / "a.mp4", frames, 3, [[], ["now 100%"], []])
    light = read_clip(tmp_path / "a.mp4", 3).frames.float().mean((1, 2, 3))
    assert light[1] > light[0] + 3 and light[1] > light[2] + 3
    with pytest.raises(ValueError, match="each"):
        write_annotated_video(tmp_path / "a.mp4", frames, 3, [["one"], ["two"]])


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    frames = stripes(2)
    (tmp_path / "folder.mp4").mkdir()
    for path in (tmp_path / "missing" / "a.mp4", tmp_path / "folder.mp4", tmp_path / "a.txt"):
        with pytest.raises(InputError, match="cannot be written"):
            write_video(path, frames, 5)


@pytest.mark.parametrize(
    "frames", [torch.zeros(2, 8, 8, 3), torch.zeros(2, 3, 8, 8, dtype=torch.uint8), [], torch.zeros(8, 8, 3).byte()]
)
def test_anything_but_uint8_frames_is_refused(tmp_path, frames):
    with pytest.raises(ValueError, match="uint8"):
        write_video(tmp_path / "a.mp4", frames, 5)


def test_frames_of_two_sizes_and_impossible_rates_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one size"):
        write_video(tmp_path / "a.mp4", [np.zeros((32, 32, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)], 5)
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="fps"):
            write_video(tmp_path / "a.mp4", stripes(2), fps)
