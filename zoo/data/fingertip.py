"""Fingertip gestures: tracks of 16 positions, drawn as a moving dot or a growing stroke.

The tracks are those of the hand-gesture-recognition-using-mediapipe family (Apache-2.0): a row holds the label and 16
(x, y) offsets from the first point, as fractions of the picture. Rows are windows that slide over a recording one step
at a time, so neighbours share 15 steps; ``split_tracks`` therefore deals out whole blocks and leaves gaps between them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.errors import InputError

CLASS_NAMES = ("Stop", "Clockwise", "Counter Clockwise", "Move")
DIRECTIONS = ("E", "SE", "S", "SW", "W", "NW", "N", "NE")  # by the compass, north at the top of the picture
MIRRORED = np.array([0, 2, 1, 3])  # the class that the mirror image of a gesture has
NUM_STEPS = 16
SMALLEST_WAY = 0.015  # from the first to the last point of a piece of a track that has a direction
BLOCK = 100  # rows; of 10 blocks one is for validation and two are for the test

Split = Literal["train", "val", "train+val", "test"]
Style = Literal["dot", "stroke"]


def read_tracks(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a file of tracks.

    Returns:
        Offsets float32 [M, 16, 2] as fractions of the picture, x to the right and y down, and labels int64 [M].

    Raises:
        InputError: the file is missing or is not such a table.
    """
    try:
        with open(path, newline="") as file:
            rows = np.array([[float(value) for value in row] for row in csv.reader(file)], dtype=np.float32)
        return rows[:, 1:].reshape(-1, NUM_STEPS, 2), rows[:, 0].astype(np.int64)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not a table of fingertip tracks ({error}): every row is a label and {NUM_STEPS} pairs of offsets"
        ) from error


def split_tracks(labels: np.ndarray, split: Split) -> np.ndarray:
    """Indices of the tracks of ``split``, by blocks of consecutive rows that share no step with another block."""
    val, test = {3}, {6, 9}
    train = set(range(10)) - val - test
    block_parts = {"train": train, "val": val, "train+val": train | val, "test": test}[split]
    indices = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        for block, start in enumerate(range(0, len(rows), BLOCK)):
            if block % 10 in block_parts:
                indices.append(rows[start : start + BLOCK - (NUM_STEPS - 1)])
    return np.concatenate(indices)


@dataclass(frozen=True)
class GestureRenderer:
    """Draws a track as a clip with a random place, size, colour and background.

    Attributes:
        size: side of the square frames, in pixels.
        styles: what is drawn: a "dot" that moves, or a "stroke" that grows behind the fingertip.
        scale: the track is drawn at this least up to this largest multiple of its own scale, as far as it fits.
        plain: the share of clips in black and white, without noise: the easy ones, from which learning takes off.
    """

    size: int = 64
    styles: tuple[Style, ...] = ("dot", "stroke")
    scale: tuple[float, float] = (0.9, 3.2)
    plain: float = 0.4

    def __call__(self, track: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw ``track`` [T, 2], one frame a step; returns uint8 [T, H, W, 3]."""
        points = self._place(track, rng) * self.size
        style = self.styles[rng.integers(len(self.styles))]
        plain = rng.random() < self.plain
        background, color = _black_and_white(self.size, rng) if plain else _background(self.size, rng)
        radius = self.size * self.scale[0] * np.exp(rng.uniform(np.log(0.017), np.log(0.067)))
        if style == "dot":
            masks = _disks(points, radius, self.size)
            frames = _paint(background[None], masks, color)
        else:
            frames = _paint(background[None], _strokes(points, max(0.6, radius * 0.6), self.size), color)
            if rng.random() < 0.5:
                head = color if rng.random() < 0.5 else _contrasting(background, rng)
                frames = _paint(frames, _disks(points, radius * rng.uniform(1.0, 1.6), self.size), head)
        if plain:
            return np.clip(frames, 0, 255).astype(np.uint8)
        if rng.random() < 0.3:
            frames = (frames + np.roll(frames, 1, axis=1) + np.roll(frames, 1, axis=2)) / 3
        frames = frames + rng.normal(0, rng.uniform(0, 6), frames.shape)
        return np.clip(frames, 0, 255).astype(np.uint8)

    def _place(self, track: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The track as positions in the unit square, inside it wherever that is possible."""
        track = track * np.exp(rng.uniform(-0.1, 0.1, size=2))
        extent = max(float(np.ptp(track, axis=0).max()), 1e-6)
        scale = min(np.exp(rng.uniform(*np.log(self.scale))), 0.9 / extent)
        track = track * scale
        low, high = 0.04 - track.min(axis=0), 0.96 - track.max(axis=0)
        return track + rng.uniform(low, high)


def _black_and_white(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A dark picture and a light colour, or the reverse."""
    dark, light = rng.uniform(0, 30), rng.uniform(225, 255)
    back, front = (dark, light) if rng.random() < 0.5 else (light, dark)
    return np.full((size, size, 3), back), np.full(3, front)


def _background(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A plain, graded or cloudy picture [H, W, 3] in 0..255, and a colour [3] that stands out from it."""
    corners = rng.uniform(0, 255, 3) + rng.choice([0, 25, 50]) * rng.normal(size=(4, 4, 3))
    if rng.random() < 0.3:
        corners = np.broadcast_to(rng.choice([0.0, 255.0]), (4, 4, 3))
    coarse = torch.from_numpy(np.ascontiguousarray(corners, dtype=np.float32)).permute(2, 0, 1)[None]
    picture = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)
    background = np.clip(picture[0].permute(1, 2, 0).numpy(), 0, 255)
    return background, _contrasting(background, rng)


def _contrasting(background: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour [3] at least 90 levels (Euclidean) from the mean of ``background``."""
    mean = background.mean(axis=(0, 1))
    while True:
        color = rng.uniform(0, 255, 3)
        if np.linalg.norm(color - mean) > 90:
            return color


def _disks(points: np.ndarray, radius: float, size: int) -> np.ndarray:
    """Coverage [T, H, W] of a disk at each of ``points`` [T, 2] (pixels), smooth at the edge."""
    y, x = np.mgrid[:size, :size] + 0.5
    distance = np.hypot(x - points[:, 0, None, None], y - points[:, 1, None, None])
    return np.clip(radius - distance + 0.5, 0, 1)


def _strokes(points: np.ndarray, radius: float, size: int) -> np.ndarray:
    """Coverage [T, H, W] of the line through ``points[: t + 1]`` with half the width ``radius`` (pixels)."""
    y, x = np.mgrid[:size, :size] + 0.5
    pixels = np.stack([x, y], axis=-1)
    starts = points[np.maximum(np.arange(len(points)) - 1, 0), None, None]
    along = (points[:, None, None] - starts).astype(np.float32)
    offset = (pixels - starts).astype(np.float32)
    share = np.clip((offset * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9), 0, 1)
    distance = np.linalg.norm(offset - share[..., None] * along, axis=-1)
    return np.clip(radius - np.minimum.accumulate(distance, axis=0) + 0.5, 0, 1)


def _paint(frames: np.ndarray, masks: np.ndarray, color: np.ndarray) -> np.ndarray:
    """``frames`` [T or 1, H, W, 3] with ``color`` laid over where ``masks`` [T, H, W] say."""
    return frames + masks[..., None] * (color - frames)


class FingertipDataset(Dataset[tuple[Tensor, Tensor]]):
    """Drawn tracks as (clip uint8 [T, 3, H, W], label).

    Args:
        path: the table of tracks, see ``read_tracks``.
        split: "train" and "train+val" draw every track anew each time and turn and mirror it (which exchanges clockwise
            and counter clockwise); "val" and "test" draw each track once, always the same way.
        renderer: how tracks are drawn.
        seed: of the drawings.
    """

    def __init__(self, path: str | Path, split: Split, renderer: GestureRenderer, seed: int = 0):
        tracks, labels = read_tracks(path)
        indices = split_tracks(labels, split)
        self.tracks, self.labels = tracks[indices], labels[indices]
        self.split, self.renderer, self.seed = split, renderer, seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        training, rng = _chance(self.split, self.seed, index)
        track, label = self.tracks[index], self.labels[index]
        if training:
            track, label = _turn(track, label, rng)
        return _draw(self.renderer, track, rng), torch.tensor(label)


class DirectionDataset(Dataset[tuple[Tensor, Tensor]]):
    """Short pieces of tracks as (clip uint8 [T, 3, H, W], which of ``DIRECTIONS`` the piece goes).

    Gestures are told apart by how the direction of a motion changes. To a network that sees no motion yet, no direction
    speaks for or against a gesture, so it finds none; here it learns to see them first, on small and short clips.

    Args:
        path, split, renderer, seed: as of ``FingertipDataset``.
        num_frames: T, at most 16.
    """

    def __init__(self, path: str | Path, split: Split, renderer: GestureRenderer, num_frames: int, seed: int = 0):
        tracks, labels = read_tracks(path)
        tracks = tracks[split_tracks(labels, split)]
        starts = range(0, NUM_STEPS - num_frames + 1, num_frames - 1)
        pieces = np.concatenate([tracks[:, start : start + num_frames] for start in starts])
        ways = pieces[:, -1] - pieces[:, 0]
        self.pieces = pieces[np.linalg.norm(ways, axis=1) > SMALLEST_WAY]
        self.split, self.renderer, self.seed = split, renderer, seed

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        training, rng = _chance(self.split, self.seed, index)
        piece = self.pieces[index]
        if training:
            piece, _ = _turn(piece, 0, rng)
        x, y = piece[-1] - piece[0]
        eighths = np.arctan2(y, x) / (2 * np.pi) * len(DIRECTIONS)
        return _draw(self.renderer, piece, rng), torch.tensor(round(eighths) % len(DIRECTIONS))


def _chance(split: Split, seed: int, index: int) -> tuple[bool, np.random.Generator]:
    """Whether a sample is for training, and its random numbers: new ones each time if it is, otherwise its own."""
    training = split.startswith("train")
    return training, np.random.default_rng([int(torch.randint(2**62, ()))] if training else [seed, index])


def _draw(renderer: GestureRenderer, track: np.ndarray, rng: np.random.Generator) -> Tensor:
    """The drawn clip as a data set gives it, uint8 [T, 3, H, W]."""
    return torch.from_numpy(renderer(track, rng)).permute(0, 3, 1, 2).contiguous()


def _turn(track: np.ndarray, label: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A track turned by a random angle and, half the time, mirrored; with the label that it then has."""
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    track = track @ np.array([[cos, sin], [-sin, cos]])
    if rng.random() < 0.5:
        return track * np.array([-1, 1]), int(MIRRORED[label])
    return track, int(label)
