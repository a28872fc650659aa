"""Views of a video: which crops, which clips, in which order."""

import pytest
import torch

from zoo.data.video import open_video
from zoo.data.video_transforms import VideoTransform
from zoo.data.video_views import average_views, crop_frames, crop_places, cut_views, read_views, video_views
from zoo.errors import InputError
from zoo.weights import VideoInput

AUTHORS = VideoInput(8, 256, 224)


def test_the_protocols_are_those_of_the_paper():
    sizes = {name: video_views(name, AUTHORS) for name in ("center", "crop10", "dense_10x3", "twice_x3")}
    assert {name: (v.num_clips, v.num_views, v.crop_size) for name, v in sizes.items()} == {
        "center": (1, 1, 224),
        "crop10": (1, 10, 224),
        "dense_10x3": (10, 30, 256),
        "twice_x3": (2, 6, 256),
    }
    with pytest.raises(InputError, match="dense_10x3"):
        video_views("dense", AUTHORS)


def test_places_by_hand():
    # 340 - 256 = 84 pixels of room, quarters of 21.
    assert crop_places(256, 340, 256, "three") == [(0, 0), (0, 84), (0, 42)]
    # 455 - 256 = 199, quarters of 49 whole pixels: the right crop ends 3 pixels before the edge.
    assert crop_places(256, 455, 256, "three") == [(0, 0), (0, 196), (0, 98)]
    # 256 - 224 = 32 down, quarters of 8; 340 - 224 = 116 right, quarters of 29.
    assert crop_places(256, 340, 224, "ten") == [(0, 0), (0, 116), (32, 0), (32, 116), (16, 58)]
    with pytest.raises(ValueError, match="does not fit"):
        crop_places(200, 340, 224, "ten")


def frames_with_columns(num_frames, height, width):
    """Each pixel holds its column, in the second channel its row, in the third the number of the frame."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frames = [torch.stack([columns, rows, torch.full_like(rows, number)]) for number in range(num_frames)]
    return torch.stack(frames).to(torch.uint8)


def test_crops_hold_what_lies_at_their_places():
    views = video_views("twice_x3", VideoInput(2, 64, 56))
    crops = crop_frames(frames_with_columns(1, 64, 100), views)  # 36 of room, quarters of 9
    assert crops.shape == (3, 1, 3, 64, 64)
    assert [crop[0, 0, 0, 0].item() for crop in crops] == [0, 36, 18]
    ten = crop_frames(frames_with_columns(1, 64, 100), video_views("crop10", VideoInput(2, 64, 56)))
    first, mirrored = ten[0, 0, 0], ten[1, 0, 0]
    assert torch.equal(first.flip(-1), mirrored)
    # 44 of room to the right, quarters of 11; 8 down, quarters of 2.
    assert [tuple(crop[0, :2, 0, 0].tolist()) for crop in ten[::2]] == [(0, 0), (44, 0), (0, 8), (44, 8), (22, 4)]


def test_the_centre_is_what_the_model_itself_sees():
    frames = torch.randint(256, (2, 3, 50, 70), dtype=torch.uint8)
    for mode in ("center", "squash"):
        preprocessing = VideoInput(2, 40, 32, mode)
        own = VideoTransform(40, 32, mode)(frames)
        views = crop_frames(frames, video_views("center", preprocessing))
        only_normalised = VideoTransform(32, 32)(views[0])
        torch.testing.assert_close(only_normalised, own)


def test_views_are_clips_by_crops():
    frames = frames_with_columns(12, 16, 20)
    clips = [[0, 3, 6], [5, 8, 11]]
    views = cut_views(frames, clips, video_views("twice_x3", VideoInput(3, 16, 16)))
    assert views.shape == (6, 3, 3, 16, 16)
    assert views[:, :, 2, 0, 0].tolist() == [clips[0]] * 3 + [clips[1]] * 3
    assert views[:, 0, 0, 0, 0].tolist() == [0, 4, 2] * 2
    with pytest.raises(ValueError, match="takes 2 clips"):
        cut_views(frames, clips[:1], video_views("twice_x3", VideoInput(3, 16, 16)))


def test_mirrored_flow_runs_the_other_way():
    flow = torch.full((1, 10, 8, 8), 100, dtype=torch.uint8)
    ten = crop_frames(flow, video_views("crop10", VideoInput(1, 8, 8, mean=(0.5,) * 10, std=(0.226,) * 10)))
    assert ten[0, 0, :, 0, 0].tolist() == [100] * 10
    assert ten[1, 0, :, 0, 0].tolist() == [155, 100] * 5


def test_logits_are_averaged_not_probabilities():
    logits = torch.tensor([[10.0, 0.0], [0.0, 4.0], [0.0, 4.0]])
    assert average_views(logits).tolist() == pytest.approx([10 / 3, 8 / 3])  # probabilities would choose class 1
    assert average_views(logits, softmax=True).sum() == pytest.approx(1)


def test_a_real_video_gives_views(test_data):
    path = sorted((test_data / "video/fights_mp4").glob("*.mp4"))[0]
    views = video_views("twice_x3", VideoInput(4, 112, 96))
    frames = open_video(path).read([0, 3, 6]).permute(0, 3, 1, 2)
    found = read_views(path, lambda num_frames: [[3, 6], [0, 3]], views)
    assert found.shape == (6, 2, 3, 112, 112)
    assert torch.equal(found, cut_views(frames, [[1, 2], [0, 1]], views))
    assert not torch.equal(found[0], found[1])
