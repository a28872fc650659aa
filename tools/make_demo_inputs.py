"""Make the demo's own inputs: a clip of a drawn gesture (H.264) and a sampled tabletop scene (PLY)."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from zoo.data.points import write_ply
from zoo.data.video_writer import write_video

CAMERA_PITCH = math.radians(48)  # how far the camera looks down on the table
TABLE_DISTANCE = 1.0  # metres from the camera to the middle of the table
PIXEL_ANGLE = 0.0068  # radians between two rays: 6 mm apart at a metre


def draw_gesture(size: int = 320, num_frames: int = 16) -> np.ndarray:
    """A fingertip drawing one clockwise circle as a growing stroke with a head; uint8 [T, H, W, 3]."""
    angles = np.linspace(-math.pi / 2, 1.45 * math.pi, num_frames)
    points = size * (0.5 + 0.14 * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    frames = []
    for step in range(num_frames):
        picture = Image.new("RGB", (size, size), (238, 234, 222))
        pen = ImageDraw.Draw(picture)
        if step:
            pen.line([tuple(point) for point in points[: step + 1]], fill=(40, 70, 160), width=7, joint="curve")
        x, y = points[step]
        pen.ellipse([x - 9, y - 9, x + 9, y + 9], fill=(200, 60, 40))
        frames.append(np.asarray(picture))
    return np.stack(frames)


def sample_tabletop(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What a depth camera sees of a box, a can and a ball on a table.

    Returns:
        Points float32 [N, 3] in metres, in the camera's frame (x right, y down, z forward), and colours uint8 [N, 3].
    """
    up = np.array([0.0, -math.cos(CAMERA_PITCH), -math.sin(CAMERA_PITCH)])
    right = np.array([1.0, 0.0, 0.0])
    frame = np.stack([right, np.cross(up, right), up])  # rows: the axes of the table
    camera = frame @ np.array([0.0, 0.0, -TABLE_DISTANCE])  # the camera, seen from the middle of the table
    columns, rows = np.meshgrid(np.arange(-88, 89), np.arange(-66, 67))
    rays = np.stack([columns * PIXEL_ANGLE, rows * PIXEL_ANGLE, np.ones(columns.shape)], axis=-1).reshape(-1, 3)
    rays = (rays + rng.normal(0, 0.001, rays.shape)) @ frame.T

    surfaces = [
        (_hit_plane(camera, rays), (188, 172, 160)),
        (_hit_box(camera, rays, np.array([-0.24, -0.06, 0.0]), np.array([-0.10, 0.02, 0.20])), (176, 60, 48)),
        (_hit_can(camera, rays, np.array([0.06, 0.08]), 0.04, 0.12), (40, 96, 150)),
        (_hit_ball(camera, rays, np.array([0.20, -0.10, 0.05]), 0.05), (214, 168, 40)),
    ]
    distances = np.stack([distance for distance, _ in surfaces])
    nearest = distances.argmin(axis=0)
    depth = distances.min(axis=0)
    points = camera + rays * (depth + rng.normal(0, 0.0008, depth.shape))[:, None]
    colors = np.array([color for _, color in surfaces], dtype=float)[nearest] + rng.normal(0, 7, points.shape)
    seen = np.isfinite(depth) & (np.abs(points[:, :2]) < 0.55).all(axis=1)
    in_camera = (points[seen] - camera) @ frame
    return in_camera.astype(np.float32), np.clip(colors[seen], 0, 255).astype(np.uint8)


def _hit_plane(camera: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """How far along each ray [M, 3] the table z = 0 is."""
    distance = -camera[2] / np.where(rays[:, 2] < 0, rays[:, 2], np.nan)
    return np.nan_to_num(distance, nan=np.inf)


def _hit_box(camera: np.ndarray, rays: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How far along each ray the box between two corners is; infinite where it is missed."""
    with np.errstate(divide="ignore"):
        sides = np.stack([(low - camera) / rays, (high - camera) / rays])
    enter, leave = sides.min(axis=0).max(axis=1), sides.max(axis=0).min(axis=1)
    return np.where((enter < leave) & (enter > 0), enter, np.inf)


def _hit_ball(camera: np.ndarray, rays: np.ndarray, center: np.ndarray, radius: float) -> np.ndarray:
    """How far along each ray the ball is; infinite where it is missed."""
    return _first_root(rays, camera - center, radius)


def _hit_can(camera: np.ndarray, rays: np.ndarray, center: np.ndarray, radius: float, height: float) -> np.ndarray:
    """How far along each ray the side or the lid of an upright can is; infinite where it is missed."""
    side = _first_root(rays[:, :2], camera[:2] - center, radius)
    z = camera[2] + np.where(np.isfinite(side), side, 0) * rays[:, 2]
    side = np.where((z >= 0) & (z <= height), side, np.inf)
    lid = (height - camera[2]) / rays[:, 2]
    on_lid = np.linalg.norm(camera[:2] + lid[:, None] * rays[:, :2] - center, axis=1) <= radius
    return np.minimum(side, np.where(on_lid & (lid > 0), lid, np.inf))


def _first_root(rays: np.ndarray, offset: np.ndarray, radius: float) -> np.ndarray:
    """The smaller t with |offset + t * ray| = radius; infinite where there is none."""
    a = (rays**2).sum(axis=1)
    b = rays @ offset
    discriminant = b**2 - a * (offset @ offset - radius**2)
    return np.where(discriminant > 0, (-b - np.sqrt(np.maximum(discriminant, 0))) / a, np.inf)


def main() -> None:
    """Write gesture.mp4 and tabletop.ply."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="the folder (default: out/demo)")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / "gesture.mp4", draw_gesture(), fps=8)
    points, colors = sample_tabletop(np.random.default_rng(0))
    write_ply(folder / "tabletop.ply", points, colors)
    print(f"wrote {folder / 'gesture.mp4'} and {folder / 'tabletop.ply'} ({len(points):,} points)")


if __name__ == "__main__":
    main()
