"""The boxes that a frustum network finds, in KITTI's files of results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from zoo.create import create_transform
from zoo.data.kitti import rotate_about_y
from zoo.data.kitti_frustum import Frustum, KittiFrustums
from zoo.engine import distributed
from zoo.engine.boxes import Boxes, boxes_of
from zoo.engine.journal import progress
from zoo.engine.protocols.evaluation import device_of, evaluation_mode, finite
from zoo.errors import InputError


def write_kitti_results(
    model: nn.Module, frustums: KittiFrustums, frames: Sequence[str], folder: Path, batch_size: int = 32
) -> None:
    """Write ``folder/<frame>.txt`` for every frame, an object a line, as the benchmark wants them.

    The picture's box and the score of an object are those of its detection, as PVCNN's authors have it. Of several
    processes each looks at a share of the frustums, and all write the same files.

    Args:
        model: a frustum network.
        frustums: of detections, outside training.
        frames: all that are measured; where nothing was detected the file is empty.
        folder: it is made.
        batch_size: frustums that go through the network together.

    Raises:
        InputError: the files cannot be written, or the model gives no finite number.
    """
    transform, device = create_transform(model), device_of(model)
    rank, world_size = distributed.rank(), distributed.world_size()
    found: list[tuple[int, str]] = []
    with evaluation_mode(model):
        begins = range(rank * batch_size, len(frustums), world_size * batch_size)
        for begin in progress(begins, len(begins), speaks=rank == 0, units="batches"):
            torch.manual_seed(begin)  # of the points that a model draws: whole batches are shared out, so all is equal
            batch = [frustums[index] for index in range(begin, min(begin + batch_size, len(frustums)))]
            points = torch.stack([transform(cloud) for (cloud, _), _ in batch]).to(device)
            class_ids = torch.stack([class_id for (_, class_id), _ in batch]).to(device)
            outputs = {name: finite(value) for name, value in model(points, class_ids).items()}
            angles = torch.stack([target["rotation_angle"] for _, target in batch])
            boxes = boxes_of(outputs)
            found += enumerate(_lines(boxes, angles, frustums, begin), start=begin)
    lines: dict[str, list[str]] = defaultdict(list)
    for number, line in sorted(distributed.gather(found)):
        lines[frustums.frustums[number].frame].append(line)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for frame in frames:
            (folder / f"{frame}.txt").write_text("".join(f"{line}\n" for line in lines[frame]))
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): choose another folder") from error


def _lines(boxes: Boxes, angles: Tensor, frustums: KittiFrustums, begin: int) -> list[str]:
    """The objects of one batch, turned back from the front to where they are seen."""
    center, size, heading = (value.double().cpu().numpy() for value in (boxes.center, boxes.size, boxes.heading))
    return [
        _line(frustums.frustums[begin + row], rotate_about_y(center[None, row], -angle)[0], size[row], turned)
        for row, (angle, turned) in enumerate(zip(angles.tolist(), heading + angles.numpy(), strict=True))
    ]


def _line(frustum: Frustum, center: np.ndarray, size: np.ndarray, heading: float) -> str:
    """A detection in KITTI's sixteen columns; what it does not know of the object is -1 and -10."""
    length, width, height = size
    x, y, z = center + np.array([0, height / 2, 0])  # the middle of the bottom
    heading = (heading + np.pi) % (2 * np.pi) - np.pi
    numbers = (-10, *frustum.box2d, height, width, length, x, y, z, heading, frustum.score)
    name = KittiFrustums.class_names[frustum.class_id]
    return " ".join([name, "-1", "-1", *(f"{number:.4f}" for number in numbers)])
