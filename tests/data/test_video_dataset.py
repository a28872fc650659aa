import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from zoo.data.bad_files import GuardedDataset, collate_guarded
from zoo.data.mirrored_classes import mirrored_classes
from zoo.data.video import open_video_with
from zoo.data.video_augment import VideoAugment
from zoo.data.video_dataset import VideoDataset
from zoo.data.video_sets import find_videos
from zoo.data.video_transforms import VideoTransform
from zoo.data.video_writer import write_video
from zoo.errors import InputError

NUM_FRAMES = 80
DECODERS = [
    pytest.param(name, marks=pytest.mark.skipif(not importlib.util.find_spec(module), reason=f"{module} is missing"))
    for name, module in [("auto", "av"), ("pyav", "av"), ("decord", "decord"), ("torchcodec", "torchcodec")]
]


def numbered(num_frames=NUM_FRAMES):
    """Frames whose left half tells their number in binary, in light and dark bars, and whose right half is black."""
    frames = torch.zeros(num_frames, 32, 224, 3, dtype=torch.uint8)
    for number in range(num_frames):
        for bit in range(7):
            frames[number, :, 16 * bit : 16 * bit + 16] = 220 if number >> bit & 1 else 60
    return frames


def numbers(frames):
    """The numbers that frames uint8 [T, 3, H, W] tell."""
    bars = frames[:, :, :, :112].unflatten(3, (7, 16)).float().mean((1, 2, 4)) > 140
    return (bars.int() << torch.arange(7)).sum(1).tolist()


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """A folder of two classes: a video that goes left, and a folder of frames that goes right."""
    root = tmp_path_factory.mktemp("videos")
    (root / "go left").mkdir()
    write_video(root / "go left" / "a.mp4", numbered(), fps=25)
    (root / "go right" / "b").mkdir(parents=True)
    for number, frame in enumerate(numbered()):
        Image.fromarray(frame.numpy()).save(root / "go right" / "b" / f"{number:05d}.png")
    return root


def dataset_of(folder, num_frames=8, training=False, **options):
    found = find_videos(folder)
    return VideoDataset(found.samples, found.class_names, num_frames, training=training, **options)


@pytest.mark.parametrize("decoder", DECODERS)
def test_samples_are_clips_with_labels(videos, decoder):
    dataset = dataset_of(videos, decoder=decoder)
    assert len(dataset) == 2 and dataset.class_names == ("go left", "go right")
    for index in range(2):
        frames, label = dataset[index]
        assert frames.shape == (8, 3, 32, 224) and frames.dtype == torch.uint8 and frames.is_contiguous()
        assert label.dtype == torch.int64 and label.shape == () and label == index
        assert numbers(frames) == [5, 15, 25, 35, 45, 55, 65, 75]
    assert dataset.path_of(0) == str(videos / "go left" / "a.mp4")


def test_many_clips_stand_one_after_another(videos):
    frames, _ = dataset_of(videos, sampling="dense", num_clips=3)[0]
    assert frames.shape == (24, 3, 32, 224)
    assert numbers(frames) == [start + 8 * step for start in (0, 8, 16) for step in range(8)]
    frames, _ = dataset_of(videos, sampling="twice", num_clips=2)[1]
    assert numbers(frames) == [*range(5, 80, 10), *range(0, 80, 10)]


@pytest.mark.parametrize("sampling", ["uniform", "dense"])
def test_training_draws_with_torchs_generator_and_evaluation_repeats(videos, sampling):
    clips = []
    for seed in (1, 1, 2, 3, 4):
        torch.manual_seed(seed)
        clips.append(numbers(dataset_of(videos, training=True, sampling=sampling)[0][0]))
    assert clips[0] == clips[1] and len({tuple(clip) for clip in clips}) > 1
    dataset = dataset_of(videos, sampling=sampling)
    assert torch.equal(dataset[0][0], dataset[0][0])


@pytest.mark.parametrize(
    "options", [{"sampling": "uniform", "num_clips": 2}, {"training": True, "sampling": "dense", "num_clips": 10}]
)
def test_clips_that_there_are_not_are_refused(videos, options):
    with pytest.raises(ValueError, match="clip"):
        dataset_of(videos, **options)


def test_decoders_are_chosen_by_name(videos):
    with pytest.raises(ValueError, match="decoder is one of auto"):
        open_video_with("opencv", videos / "go left" / "a.mp4")
    with pytest.raises(InputError, match="is no folder"):
        open_video_with("frames", videos / "go left" / "a.mp4")
    with pytest.raises(InputError, match="is not there"):
        open_video_with("pyav", videos / "none.mp4")


@pytest.mark.skipif(importlib.util.find_spec("torchcodec") is not None, reason="torchcodec is installed")
def test_a_decoder_that_is_not_installed_is_told_with_its_remedy(videos):
    with pytest.raises(InputError, match="pip install torchcodec"):
        open_video_with("torchcodec", videos / "go left" / "a.mp4")


@pytest.mark.parametrize("decoder", DECODERS[2:])
@pytest.mark.parametrize(
    "name", ["clips/mmaction2/demo.mp4", "clips/torchcodec/nasa_13013.mp4", "fights_mp4/fi005.mp4"]
)
def test_decoders_agree_on_real_clips(test_data, decoder, name):
    path = test_data / "video" / name
    expected = open_video_with("pyav", path)
    indices = [expected.num_frames - 1, 0, 17, 18, 18]
    reader = open_video_with(decoder, path)
    assert reader.num_frames == expected.num_frames
    assert torch.equal(reader.read(indices), expected.read(indices))


def test_real_bad_files_are_skipped_and_told(test_data):
    clips = test_data / "video" / "clips"
    paths = [
        clips / "decord" / "corrupted.mp4",
        clips / "frames_demo" / "running" / "0001",
        clips / "decord" / "none.mp4",
    ]
    dataset = VideoDataset([(path, 0) for path in paths], ["running"], 8, training=False)
    guarded = GuardedDataset(dataset, "skip", dataset.path_of)
    ((clips_and_labels, records),) = DataLoader(guarded, 3, collate_fn=collate_guarded)
    assert clips_and_labels[1].tolist() == [0]
    assert [Path(bad.path).name for bad in records] == ["corrupted.mp4", "none.mp4"]


def test_the_mirror_exchanges_labels(videos):
    mirror = mirrored_classes(["go left", "go right"])
    dataset = dataset_of(videos, training=True, augment=VideoAugment(mirror=mirror))
    torch.manual_seed(0)
    seen = set()
    for _ in range(12):
        frames, label = dataset[0]
        is_mirrored = frames[..., 112:].float().mean() > frames[..., :112].float().mean()
        assert label == int(is_mirrored) and label.dtype == torch.int64
        seen.add(int(label))
    assert seen == {0, 1}
    evaluation = dataset_of(videos, augment=VideoAugment(mirror=(1, 0), color_jitter=1.0))
    assert torch.equal(evaluation[0][0], dataset_of(videos)[0][0])


def test_classes_without_a_mirror_image_are_left_alone():
    frames = numbered(2).permute(0, 3, 1, 2)
    for _ in range(20):
        same, label = VideoAugment(mirror=(None, 1))(frames, torch.tensor(0))
        assert torch.equal(same, frames) and label == 0


@pytest.mark.parametrize("augment", [VideoAugment(color_jitter=0.6), VideoAugment(randaugment_ops=2)])
def test_colours_and_randaugment_are_alike_on_all_frames(augment):
    still = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 40, 56), dtype=np.uint8)).expand(
        4, -1, -1, -1
    )
    changed = 0
    for seed in range(8):
        torch.manual_seed(seed)
        frames, label = augment(still, torch.tensor(3))
        assert frames.shape == still.shape and frames.dtype == torch.uint8 and label == 3
        assert all(torch.equal(frame, frames[0]) for frame in frames)
        changed += not torch.equal(frames, still)
        torch.manual_seed(seed)
        assert torch.equal(augment(still, torch.tensor(3))[0], frames)
    assert changed >= 6


@pytest.mark.parametrize("options", [{"color_jitter": 2.0}, {"randaugment_ops": -1}, {"randaugment_magnitude": 31}])
def test_strengths_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        VideoAugment(**options)


def test_an_augmented_clip_goes_through_the_models_transform(videos):
    dataset = dataset_of(
        videos, training=True, augment=VideoAugment(mirror=(1, 0), color_jitter=0.4, randaugment_ops=1)
    )
    assert VideoTransform(28, 24, training=True)(dataset[1][0]).shape == (8, 3, 24, 24)
