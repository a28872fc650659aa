"""Labelled videos as a data set: a path and a label to a clip and a label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.sampling import Sampling, check_sampling, eval_clips, train_clip
from zoo.data.shards import Frames, Member, Shard, as_file, shard_of, shard_sizes
from zoo.data.video import Decoder, open_video_with

Augmentation = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Frames uint8 [T, 3, H, W] and label int64 [] to the same."""


class VideoDataset(Dataset[tuple[Tensor, Tensor]]):
    """Videos as (frames uint8 [num_clips * T, 3, H, W], label int64 []), H and W those of the video.

    In training, frames are drawn with torch's own generator; in evaluation a video always gives the same frames.

    Args:
        samples: paths of video files or folders of frames, or videos in shards, with labels; such as
            ``find_videos(...).samples`` or ``find_shards(...).samples``.
        class_names: in the order of the labels.
        num_frames: frames of a clip, T.
        sampling: which frames, see ``zoo.data.sampling``.
        training: whether frames are drawn at random and ``augment`` is used.
        decoder: of video files, see ``zoo.data.video.open_video_with``; folders of frames are read as they are.
        num_clips: clips of a video, one after another along the first dimension: in evaluation any number of "dense"
            ones and two of "twice"; in training one.
        augment: what is done to frames and label in training, such as ``zoo.data.video_augment.VideoAugment``.

    Attributes:
        shard_sizes: samples of each shard; nothing for files.

    Raises:
        ValueError: the sampling does not give so many frames or clips, or there are several clips in training.
    """

    def __init__(
        self,
        samples: Sequence[tuple[Path | Member | Frames, int]],
        class_names: Sequence[str],
        num_frames: int,
        sampling: Sampling = "uniform",
        *,
        training: bool,
        decoder: Decoder = "auto",
        num_clips: int = 1,
        augment: Augmentation | None = None,
    ):
        check_sampling(sampling, num_frames, num_clips)
        if training and num_clips != 1:
            raise ValueError(f"a training sample is one clip, not {num_clips}")
        self.samples, self.class_names = samples, tuple(class_names)
        self.shard_sizes = shard_sizes(samples)
        self.num_frames, self.sampling, self.num_clips = num_frames, sampling, num_clips
        self.training, self.decoder, self.augment = training, decoder, augment

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The sample ``index``.

        Raises:
            InputError: the video cannot be read.
        """
        path, number = self.samples[index]
        with as_file(path) as file:
            reader = open_video_with(self.decoder, file)
            if self.training:
                indices = train_clip(reader.num_frames, self.num_frames, self.sampling)
            else:
                clips = eval_clips(reader.num_frames, self.num_frames, self.sampling, self.num_clips)
                indices = [frame for clip in clips for frame in clip]
            # Contiguous, as scaling and cropping take several times as long on pictures whose channels lie together.
            frames = reader.read(indices).permute(0, 3, 1, 2).contiguous()
        label = torch.tensor(number)
        return self.augment(frames, label) if self.augment and self.training else (frames, label)

    def path_of(self, index: int) -> str:
        """The path of the sample ``index``, for messages and lists of bad files."""
        return str(self.samples[index][0])

    def shard_of(self, index: int) -> Shard | None:
        """The shard that the sample ``index`` is in, None for a file."""
        return shard_of(self.samples[index][0])
