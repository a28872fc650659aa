"""S3DIS: rooms of six areas of offices, every point labelled (Armeni et al. 2016, CVPR).

``prepare`` turns the raw release (``Stanford3dDataset_v1.2_Aligned_Version``) into a file a room; `S3dis` reads them.
Rooms are cut into blocks of 1.5 x 1.5 m on two grids half a block apart, each block with at most 8192 points, as
PointCNN and PVCNN cut them, see ``zoo.data.scene_parts``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.array_files import read_arrays
from zoo.data.outputs import replacing
from zoo.data.point_dataset import PathLike, draw, read_table, sample_generator
from zoo.data.scene_parts import BLOCK_SIZE, MAX_POINTS, cut_blocks, split_for_inference
from zoo.errors import InputError
from zoo.weights import PointInput

CLASS_NAMES = (
    *("clutter", "ceiling", "floor", "wall", "beam", "column", "door"),
    *("window", "table", "chair", "sofa", "bookcase", "board"),
)
"""In the order of PVCNN's authors, so that their checkpoints can be measured; PointNet's is another."""
AREAS = (1, 2, 3, 4, 5, 6)
INPUT = PointInput(4096, ("rgb", "normalized_xyz"), "floor", "none", "blocks")
ROOM_ARRAYS = ("xyz", "rgb", "labels", "block_points", "block_offsets", "block_size")


def prepare(
    raw: PathLike, out: PathLike, block_size: float = BLOCK_SIZE, max_points: int = MAX_POINTS
) -> Iterator[Path]:
    """Write ``out/Area_1/office_1.npz`` and so on from the raw release; files that are there are left as they are.

    A file holds ``xyz`` float32 [N, 3] in metres from the room's least corner, ``rgb`` uint8 [N, 3], ``labels`` uint8
    [N], ``block_points`` int32, the rows of the points of all blocks one after another, ``block_offsets`` int64
    [B + 1], where each block begins among them, and ``block_size``. Every point is in two blocks, one of each grid.

    Args:
        raw: the folder with Area_1 to Area_6.
        out: a folder; it is made.
        block_size: side of a block on the map, in metres.
        max_points: in a block; denser ones are divided.

    Yields:
        Every file, once it is there.

    Raises:
        InputError: there is no room, or one cannot be read; the text names file and line.
    """
    rooms = sorted(path.parent for path in Path(raw).glob("Area_*/*/Annotations"))
    if not rooms:
        raise InputError(f"{raw} has no Area_*/<room>/Annotations: give the folder of the raw release")
    for room in rooms:
        path = Path(out) / room.parent.name / f"{room.name}.npz"
        if not path.exists():
            xyz, rgb, labels = read_room(room)
            blocks = cut_blocks(xyz, block_size, max_points, np.random.default_rng(0))
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.savez(
                    file,
                    xyz=xyz,
                    rgb=rgb,
                    labels=labels,
                    block_points=np.concatenate(blocks).astype(np.int32),
                    block_offsets=np.cumsum([0, *map(len, blocks)]),
                    block_size=np.float32(block_size),
                )
        yield path


def read_room(room: PathLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A room of the raw release: xyz float32 [N, 3] from its least corner, rgb uint8 [N, 3], labels uint8 [N].

    Objects of further kinds, such as stairs, are left out, as PVCNN's authors leave them.

    Raises:
        InputError: a file of an object cannot be read, or there is none. The release has such a file, a ceiling of
            Area_5/hallway_6, in which one line has a control character: correct it. The authors leave that object out.
    """
    tables, labels = [], []
    for path in sorted(Path(room).glob("Annotations/*.txt")):
        name = path.stem.split("_")[0]
        if name not in CLASS_NAMES:
            continue
        table = read_table(path)
        if table.shape[1] != 6:
            raise InputError(f"{path} has {table.shape[1]} columns instead of x y z r g b: unpack the release again")
        tables.append(table)
        labels.append(np.full(len(table), CLASS_NAMES.index(name)))
    if not tables:
        raise InputError(f"{room} has no Annotations/*.txt of a known kind: unpack the release again")
    points = np.concatenate(tables)
    xyz = points[:, :3] - points[:, :3].min(axis=0)
    return xyz.astype(np.float32), points[:, 3:].astype(np.uint8), np.concatenate(labels).astype(np.uint8)


class S3dis(Dataset[tuple[Tensor, Tensor]]):
    """Blocks of rooms as (points float [num_points, 9], labels int64 [num_points]).

    The channels are x and y from half a block beyond the least ones in the block and z from the floor, in metres; rgb
    in 0..1; and the place in the room, each coordinate in 0..1 over its extent. They are complete: a transform must not
    append the last three.
    All rooms are held in memory, at 24 bytes a point: some 7 GB for the whole release.

    Args:
        root: what ``prepare`` wrote.
        areas: which of the areas 1 to 6.
        training: draw points anew every time; otherwise the samples hold every point of every block.
        num_points: of a sample.

    Attributes:
        class_names: the 13 classes.
        rooms: the files.
        parts: (room, rows) of every sample; outside training rows are [num_points], in the sample's order, to merge
            the predictions of a room by.

    Raises:
        InputError: there are no rooms, or one is no such file.
    """

    class_names = CLASS_NAMES

    def __init__(self, root: PathLike, areas: Sequence[int], training: bool = True, num_points: int = 4096):
        self.training, self.num_points = training, num_points
        self.rooms = sorted(path for area in areas for path in Path(root).glob(f"Area_{area}/*.npz"))
        if not self.rooms:
            wanted = ", ".join(map(str, areas)) or "none"
            raise InputError(f"{root} has no prepared rooms of areas {wanted}: run tools/prepare_s3dis.py")
        self._rooms = [read_arrays(path, ROOM_ARRAYS) for path in self.rooms]
        blocks = [
            (room, rows)
            for room, arrays in enumerate(self._rooms)
            for rows in np.split(arrays["block_points"], arrays["block_offsets"][1:-1])
        ]
        self._extents = [np.maximum(arrays["xyz"].max(axis=0), np.float32(1e-6)) for arrays in self._rooms]
        self._middles = [
            _middle(self._rooms[room]["xyz"][rows], self._rooms[room]["block_size"]) for room, rows in blocks
        ]
        self._block_of = list(range(len(blocks)))  # of every sample
        self._blocks = self.parts = blocks
        if not self.training:
            chunks = [split_for_inference(len(rows), num_points, np.random.default_rng(0)) for _, rows in blocks]
            self._block_of = [block for block, parts in enumerate(chunks) for _ in parts]
            self.parts = [
                (room, rows[part]) for (room, rows), parts in zip(blocks, chunks, strict=True) for part in parts
            ]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        room, rows = self.parts[index]
        if self.training:
            rows = rows[draw(len(rows), self.num_points, sample_generator(True, index))]
        points = self._points(room, self._block_of[index], rows)
        return torch.from_numpy(points), torch.from_numpy(self._rooms[room]["labels"][rows]).long()

    def room_blocks(self, room: int) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Of a room xyz [N, 3], and of each of its blocks the rows int64 [P] and the points float32 [P, 9]."""
        blocks = [(block, rows) for block, (number, rows) in enumerate(self._blocks) if number == room]
        return self._rooms[room]["xyz"], [(rows, self._points(room, block, rows)) for block, rows in blocks]

    def _points(self, room: int, block: int, rows: np.ndarray) -> np.ndarray:
        xyz, rgb = (self._rooms[room][key][rows] for key in ("xyz", "rgb"))
        place = xyz / self._extents[room]
        return np.concatenate([xyz - self._middles[block], rgb / np.float32(255), place], axis=1)

    def room_labels(self, room: int) -> np.ndarray:
        """The labels of all points of a room, int64 [N]."""
        return self._rooms[room]["labels"].astype(np.int64)


def _middle(xyz: np.ndarray, block_size: np.ndarray) -> np.ndarray:
    """Half a block beyond the least x and y, and the floor: [x, y, 0]; a narrow block at a wall lies off it."""
    return (xyz.min(axis=0) + block_size / 2) * np.array([1, 1, 0], np.float32)
