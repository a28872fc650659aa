import pickle

import pytest
import torch
from torchvision.transforms import v2

from zoo.data.video_transforms import VideoTransform

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def gradient(height, width, frames=2):
    """The red channel grows to the right, the green one downwards."""
    y, x = torch.meshgrid(torch.linspace(0, 255, height), torch.linspace(0, 255, width), indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)]).to(torch.uint8).expand(frames, 3, height, width)


def test_evaluation_scales_the_short_side_crops_the_middle_and_normalises():
    frames = torch.randint(0, 256, (3, 3, 240, 320), dtype=torch.uint8)
    expected = v2.Compose(
        [
            v2.Resize(256, antialias=True),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )(frames)
    result = VideoTransform()(frames)
    assert result.dtype == torch.float32 and result.shape == (3, 3, 224, 224)
    torch.testing.assert_close(result, expected)


def test_the_centre_crop_loses_the_edges_and_squash_loses_nothing():
    frames = gradient(60, 120)
    cropped = VideoTransform(64, 48, **PLAIN)(frames)
    squashed = VideoTransform(64, 48, "squash", **PLAIN)(frames)
    assert cropped[0, 0].min() > 0.25 and cropped[0, 0].max() < 0.75
    assert squashed.shape == (2, 3, 48, 48)
    assert squashed[0, 0].min() < 0.02 and squashed[0, 0].max() > 0.98


def test_a_portrait_clip_keeps_its_middle_too():
    result = VideoTransform(64, 48, **PLAIN)(gradient(120, 60))
    assert result.shape == (2, 3, 48, 48)
    assert result[0, 1].min() > 0.25 and result[0, 1].max() < 0.75


def test_training_takes_the_same_crop_for_all_frames_and_another_the_next_time():
    torch.manual_seed(0)
    transform = VideoTransform(64, 48, training=True, **PLAIN)
    frames = gradient(90, 120, frames=4)
    results = [transform(frames) for _ in range(20)]
    for result in results:
        assert result.shape == (4, 3, 48, 48)
        assert (result == result[:1]).all()
    assert len({round(float(result[0, 0].mean()), 3) for result in results}) > 5


def test_training_crops_are_two_thirds_of_the_short_side_at_least():
    torch.manual_seed(0)
    transform = VideoTransform(64, 48, training=True, **PLAIN)
    heights = [float(g.max() - g.min()) for g in (transform(gradient(90, 120))[0, 1] for _ in range(60))]
    assert min(heights) > 0.6 and max(heights) > 0.97


def test_training_crops_of_the_whole_frame_reach_all_its_parts():
    torch.manual_seed(0)
    transform = VideoTransform(64, 48, "squash", training=True, **PLAIN)
    results = [transform(gradient(60, 120)) for _ in range(60)]
    widths = [float(result[0, 0].max() - result[0, 0].min()) for result in results]
    assert all(result.shape == (2, 3, 48, 48) for result in results)
    assert 0.6 < min(widths) < 0.7 and max(widths) > 0.97
    assert min(result[0, 0].min() for result in results) < 0.02 and max(result[0, 0].max() for result in results) > 0.98


def test_frame_differences_show_only_what_moves_at_any_contrast():
    frames = torch.full((5, 3, 48, 48), 100, dtype=torch.uint8)
    for t in range(5):
        frames[t, :, 8:16, 8 * t : 8 * t + 8] = 200
    faint = (frames.int() - 100) // 4 + 100
    result, of_faint = (VideoTransform(48, 48, **PLAIN, frame_differences=True)(x) for x in (frames, faint.byte()))
    assert result.shape == frames.shape and (result[0] == result[1]).all()
    for t in range(1, 5):
        change = frames[t].int() - frames[t - 1].int()
        assert (result[t].sign() == change.sign()).all()
    assert torch.allclose(result, of_faint) and result.abs().max() == 1


def test_frame_differences_of_a_still_clip_stay_small():
    noise = torch.randint(100, 102, (4, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    transform = VideoTransform(48, 48, **PLAIN, frame_differences=True)
    assert transform(noise).abs().max() < 0.2 and (transform(noise[:1]) == 0).all()


def test_training_mirrors_only_when_it_is_asked_to():
    torch.manual_seed(0)
    frames = gradient(64, 64)

    def directions(transform):
        return {bool(r[0, 0, 0, 0] < r[0, 0, 0, -1]) for r in (transform(frames) for _ in range(30))}

    assert directions(VideoTransform(64, 48, training=True, **PLAIN)) == {True}
    assert directions(VideoTransform(64, 48, training=True, flip=True, **PLAIN)) == {True, False}


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (47, 49)])
def test_tiny_and_long_frames_are_scaled_too(shape):
    for transform in (VideoTransform(64, 48), VideoTransform(64, 48, "squash"), VideoTransform(64, 48, training=True)):
        for _ in range(5):
            assert transform(gradient(*shape)).shape == (2, 3, 48, 48)


def test_it_can_be_pickled_for_the_workers_of_a_data_loader():
    transform = VideoTransform(64, 48, "squash")
    frames = gradient(30, 40)
    assert torch.equal(pickle.loads(pickle.dumps(transform))(frames), transform(frames))


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(2, 3, 8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 8, 8, 3, dtype=torch.uint8),
        torch.zeros(0, 3, 8, 8, dtype=torch.uint8),
        [[1]],
    ],
)
def test_anything_but_uint8_frames_is_refused(frames):
    with pytest.raises(ValueError, match="takes"):
        VideoTransform()(frames)


@pytest.mark.parametrize(
    "arguments",
    [{"crop_mode": "corner"}, {"resize_size": 100}, {"crop_size": 0}, {"mean": (0.5,)}, {"std": (1.0, 0.0, 1.0)}],
)
def test_impossible_settings_are_refused(arguments):
    with pytest.raises(ValueError):
        VideoTransform(**arguments)
