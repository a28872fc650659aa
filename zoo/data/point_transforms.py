"""From the points of a file to the input of a network: centring, scaling, augmentation, chunks of equal size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zoo.data.scene_parts import BLOCK_SIZE
from zoo.errors import InputError
from zoo.weights import channels_of

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Points float32 [N, C] and a generator to points [N, C]."""

Axis = Literal["x", "y", "z"]
PointAugmentation = Literal["rotate", "scale", "stretch", "translate", "flip", "jitter", "drop", "drop_color"]

_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class PointTransform:
    """Points float [N, C], xyz first, to the float32 tensor [C, N] that networks take.

    The steps: centring, scaling, augmentations, then the position in the scene.

    Attributes:
        center: "mean" moves the mean of the points to the origin; "floor" counts x and y from half a block beyond the
            least ones, and z from the least of the scene (PVCNN's S3DIS recipe, see ``zoo.data.scene_parts``).
        scale: "unit_sphere" divides by the largest distance from the origin (PVCNN's ShapeNet recipe, after
            centring); identical points stay at the origin.
        with_normalized_xyz: append three channels, the coordinates in 0..1 over the extent of the scene (PointNet's
            and PVCNN's S3DIS recipe).
        augmentations: done one after another on the centred and scaled points; for training only.
    """

    center: Literal["mean", "floor", "none"] = "mean"
    scale: Literal["unit_sphere", "none"] = "none"
    with_normalized_xyz: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augmentations: tuple[Augmentation, ...] = ()

    def __post_init__(self) -> None:
        if self.center not in ("mean", "floor", "none") or self.scale not in ("unit_sphere", "none"):
            raise ValueError(
                "center is 'mean', 'floor' or 'none' and scale 'unit_sphere' or 'none', "
                f"not {self.center!r} and {self.scale!r}"
            )

    def __call__(
        self,
        points: np.ndarray | Tensor,
        generator: np.random.Generator | None = None,
        extent: np.ndarray | None = None,
    ) -> Tensor:
        """Transform one cloud.

        Args:
            points: float [N, C], finite, xyz first.
            generator: the randomness of the augmentations; by default seeded from torch's, so that
                ``torch.manual_seed`` and the workers of a data loader rule it.
            extent: least and greatest xyz of the scene that ``points`` are a part of, [2, 3], as `scene_extent` gives
                it; by default that of ``points``. Augmentations do not change the position in the scene.

        Returns:
            float32 [C, N], or [C + 3, N] with ``with_normalized_xyz``.

        Raises:
            InputError: ``points`` is not [N, C] with at least one point and three channels.
        """
        values = points.detach().cpu().numpy() if isinstance(points, Tensor) else np.asarray(points)
        if values.ndim != 2 or values.shape[1] < 3 or not len(values):
            raise InputError(
                f"points are [N, C] with x, y and z first, not {list(values.shape)}: transpose or cut them"
            )
        if values.dtype.kind not in "fiu":
            raise InputError(f"points are numbers, not {values.dtype}: convert them to float32")
        xyz = values[:, :3].astype(np.float64)
        extent = scene_extent(xyz) if extent is None else np.asarray(extent, dtype=np.float64)
        normalized = _normalized(xyz, extent)
        if self.center == "mean":
            xyz = xyz - xyz.mean(axis=0)
        elif self.center == "floor":
            xyz = xyz - [*(xyz[:, :2].min(axis=0) + BLOCK_SIZE / 2), extent[0, 2]]
        if self.scale == "unit_sphere":
            xyz = xyz / (np.linalg.norm(xyz, axis=1).max() or 1.0)
        result = np.concatenate([xyz, self._normalize(values[:, 3:])], axis=1).astype(np.float32)
        if self.augmentations:
            if generator is None:
                generator = np.random.default_rng(int(torch.randint(2**62, ())))
            for augment in self.augmentations:
                result = augment(result, generator)
        if self.with_normalized_xyz:
            result = np.concatenate([result, normalized], axis=1)
        return torch.from_numpy(np.ascontiguousarray(result.T, dtype=np.float32))

    def _normalize(self, features: np.ndarray) -> np.ndarray:
        """Features [N, C - 3] about zero and as wide as each other, where it is known how."""
        for channels in (self.mean, self.std):
            if len(channels) not in (0, features.shape[1]):
                raise InputError(f"points have {features.shape[1]} channels after xyz, not {len(channels)}: give these")
        centred = features - np.array(self.mean, dtype=np.float32) if self.mean else features
        return centred / np.array(self.std, dtype=np.float32) if self.std else centred


def scene_extent(points: np.ndarray) -> np.ndarray:
    """Least and greatest x, y, z of the finite points [N, C] of a scene, float64 [2, 3]."""
    xyz = np.asarray(points)[:, :3]
    xyz = xyz[np.isfinite(xyz).all(axis=1)].astype(np.float64)
    return np.stack([xyz.min(axis=0), xyz.max(axis=0)]) if len(xyz) else np.zeros((2, 3))


def _normalized(xyz: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Coordinates [N, 3] as fractions of the extent [2, 3]; 0 along an axis without extent."""
    size = extent[1] - extent[0]
    return (xyz - extent[0]) / np.where(size > 0, size, 1.0)


@dataclass(frozen=True)
class RandomRotation:
    """Turn by a uniform angle about an axis through the origin.

    Attributes:
        axis: "x", "y" or "z"; the axis that is up in the data.
        max_degrees: the angle lies in [-max_degrees, max_degrees].
        vectors: first channels of the triples that turn: ``(0,)`` is xyz, ``(0, 3)`` also normals in channels 3 to 5.
    """

    axis: Axis = "z"
    max_degrees: float = 180.0
    vectors: tuple[int, ...] = (0,)

    def __call__(self, points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Points [N, C] to points [N, C]."""
        angle = math.radians(generator.uniform(-self.max_degrees, self.max_degrees))
        first, second = (_AXES[self.axis] + 1) % 3, (_AXES[self.axis] + 2) % 3
        matrix = np.eye(3, dtype=points.dtype)
        matrix[[first, second], [first, second]] = math.cos(angle)
        matrix[first, second], matrix[second, first] = -math.sin(angle), math.sin(angle)
        result = points.copy()
        for channel in self.vectors:
            result[:, channel : channel + 3] = points[:, channel : channel + 3] @ matrix.T
        return result


@dataclass(frozen=True)
class RandomScale:
    """Multiply xyz by one factor, uniform in [low, high].

    Attributes:
        low: the least factor.
        high: the greatest.
        anisotropic: a factor of its own for every axis, as PointNeXt scales (section 3.1).
    """

    low: float = 0.8
    high: float = 1.25
    anisotropic: bool = False

    def __call__(self, points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Points [N, C] to points [N, C]."""
        result = points.copy()
        result[:, :3] *= generator.uniform(self.low, self.high, 3 if self.anisotropic else None)
        return result


@dataclass(frozen=True)
class RandomTranslation:
    """Move the cloud by up to ``limit`` along every axis, in units of the points as they come (PointNet++: 0.1)."""

    limit: float = 0.1

    def __call__(self, points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Points [N, C] to points [N, C]."""
        result = points.copy()
        result[:, :3] += generator.uniform(-self.limit, self.limit, 3)
        return result


@dataclass(frozen=True)
class PointDropout:
    """Put a random share of the points where the first one is, so that fewer remain (PointNet++, section 3.3).

    The share itself is uniform in [0, ``max_ratio``]. For whole clouds alone: the labels of points would not follow.
    """

    max_ratio: float = 0.875

    def __call__(self, points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Points [N, C] to points [N, C]."""
        dropped = generator.random(len(points)) < generator.uniform(0, self.max_ratio)
        return np.where(dropped[:, None], points[:1], points)


@dataclass(frozen=True)
class RandomFlip:
    """Mirror along an axis with a probability.

    Attributes:
        axis: "x", "y" or "z".
        probability: how often.
        vectors: first channels of the triples that are mirrored: ``(0,)`` is xyz, ``(0, 3)`` also normals.
    """

    axis: Axis = "x"
    probability: float = 0.5
    vectors: tuple[int, ...] = (0,)

    def __call__(self, points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Points [N, C] to points [N, C]."""
        if generator.random() >= self.probability:
            return points
        result = points.copy()
        for channel in self.vectors:
            result[:, channel + _AXES[self.axis]] *= -1
        return result


@dataclass(frozen=True)
class Jitter:
    """Move every point by Gaussian noise, clipped (PointNet++ and PVCNN on ShapeNet: 0.01 and 0.05).

    Attributes:
        sigma: standard deviation, in units of the points as they come (after scaling).
        clip: greatest move along an axis.
    """

    sigma: float = 0.01
    clip: float = 0.05

    def __call__(self, points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Points [N, C] to points [N, C]."""
        result = points.copy()
        noise = generator.standard_normal((len(points), 3), dtype=np.float32) * self.sigma
        result[:, :3] += np.clip(noise, -self.clip, self.clip)
        return result


@dataclass(frozen=True)
class ColorDrop:
    """Set all colours of a cloud to zero with a probability (PointNeXt, section 3.1).

    Attributes:
        probability: how often.
        first_channel: where the three colour channels begin.
    """

    probability: float = 0.2
    first_channel: int = 3

    def __call__(self, points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Points [N, C] to points [N, C]."""
        if generator.random() >= self.probability:
            return points
        result = points.copy()
        result[:, self.first_channel : self.first_channel + 3] = 0
        return result


def point_augmentations(
    names: Sequence[PointAugmentation], up: Axis = "z", features: Sequence[str] = ()
) -> tuple[Augmentation, ...]:
    """The augmentations of those names, in their order.

    Args:
        names: "rotate" about the upright axis, "scale", "stretch" (a scale for every axis), "translate", "flip" (not
            upside down), "jitter", "drop" points of whole clouds, "drop_color" (where there are colours).
        up: the upright axis.
        features: what follows xyz; normals turn with the cloud.

    Raises:
        ValueError: there is no augmentation of a name.
    """
    first_channel = {feature: channels_of(features[:index]) for index, feature in enumerate(features)}
    vectors = (0, first_channel["normals"]) if "normals" in features else (0,)
    side: Axis = "y" if up == "x" else "x"
    known: dict[str, Augmentation | None] = {
        "rotate": RandomRotation(up, vectors=vectors),
        "scale": RandomScale(),
        "stretch": RandomScale(anisotropic=True),
        "translate": RandomTranslation(),
        "flip": RandomFlip(side, vectors=vectors),
        "jitter": Jitter(0.002),
        "drop": PointDropout(),
        "drop_color": ColorDrop(first_channel=first_channel["rgb"]) if "rgb" in features else None,
    }
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"there is no augmentation {', '.join(unknown)}; take some of {', '.join(known)}")
    return tuple(augmentation for name in names if (augmentation := known[name]) is not None)
