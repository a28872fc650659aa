"""The point models whose weights were published, with what is reported of them; nothing was measured here.

The authors' files and figures are those of https://github.com/mit-han-lab/pvcnn; five of the networks for scenes are on
the Hub too, converted and measured again by torch-pointcloud (https://pypi.org/project/torch-pointcloud), with the
classes in an order of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from zoo.data import kitti_frustum, s3dis, shapenet_part
from zoo.hub.sources import HubFile, Source, UrlFile, register
from zoo.weights import Metric, PointInput, WeightsSpec

HOSTS = ("https://hanlab.mit.edu/files/pvcnn/", "https://hanlab18.mit.edu/files/pvcnn/")
AUTHORS = "reported by the authors, github.com/mit-han-lab/pvcnn"
TORCH_POINTCLOUD = "reported by torch-pointcloud, huggingface.co/torch-pointcloud"
LICENCE = "MIT"
ORIGIN = "trained by the authors of PVCNN on {data}; their repository is under the MIT licence"

DENSE_SCENES = dataclasses.replace(s3dis.INPUT, num_points=8192)  # of PVCNN++

# Architecture, the authors' file, (overall accuracy, mean IoU) in per cent.
S3DIS = (
    ("pointnet_sem", "s3dis.pointnet.area5", (80.46, 44.03)),
    ("pvcnn_sem_c0p125", "s3dis.pvcnn.area5.c0p125", (82.79, 48.75)),
    ("pvcnn_sem_c0p25", "s3dis.pvcnn.area5.c0p25", (85.00, 53.08)),
    ("pvcnn_sem_c1", "s3dis.pvcnn.area5.c1", (86.47, 56.64)),
    ("pvcnnpp_sem_c0p5", "s3dis.pvcnn2.area5.c0p5", (86.88, 58.30)),
    ("pvcnnpp_sem_c1", "s3dis.pvcnn2.area5.c1", (87.48, 59.02)),
)
# Architecture: the repository's name up to its first dot, its commit, (overall accuracy, mean IoU) as reported there.
S3DIS_ON_HUB = {
    "pvcnn_sem_c1": ("pvcnn", "5bf99bd6c088f52bc61842109acf14e7d098207e", (86.58, 57.51)),
    "pvcnn_sem_c0p25": ("pvcnn-c0p25", "324aeb44c166b3f99ce5ded6060d16f364e32106", (84.93, 53.31)),
    "pvcnn_sem_c0p125": ("pvcnn-c0p125", "22d4dd68f1ce35d3553eec14f4770c2ba164fea6", (83.04, 49.25)),
    "pvcnnpp_sem_c1": ("pvcnn2", "f391d0bc11d9e0436b6eac21f3471871777b73e1", (87.62, 59.95)),
    "pvcnnpp_sem_c0p5": ("pvcnn2-c0p5", "1bdccb57093f74bd4c09c41d9fd33cbddac691fe", (87.22, 59.83)),
}
TORCH_POINTCLOUD_CLASSES = (
    *("ceiling", "floor", "wall", "beam", "column", "window", "door"),
    *("chair", "table", "bookcase", "sofa", "board", "clutter"),
)
# Architecture, tag, the authors' file, mean IoU in per cent.
SHAPENET = (
    ("pointnet_part", "shapenet", "shapenet.pointnet", 83.5),
    ("pvcnn_part_c0p25", "shapenet", "shapenet.pvcnn.c0p25", 84.9),
    ("pvcnn_part_c0p25", "shapenet_dml", "shapenet.pvcnn.c0p25.dml", 85.1),
    ("pvcnn_part_c0p5", "shapenet", "shapenet.pvcnn.c0p5", 85.5),
    ("pvcnn_part_c1", "shapenet", "shapenet.pvcnn.c1", 85.8),
    ("pvcnn_part_c1", "shapenet_dml", "shapenet.pvcnn.c1.dml", 86.1),
    ("pointnet2_part_ssg", "shapenet", "shapenet.pointnet2ssg", 85.1),
    ("pointnet2_part_msg", "shapenet", "shapenet.pointnet2msg", 85.3),
)
# Architecture, the authors' file, average precision at moderate difficulty in per cent, by class.
KITTI = (
    ("frustum_pointnet", "kitti.frustum.pointnet", (71.63, 56.90, 56.46)),
    ("frustum_pointnet2", "kitti.frustum.pointnet2", (71.99, 60.03, 56.74)),
    ("frustum_pvcnne", "kitti.frustum.pvcnne", (72.12, 61.24, 57.45)),
)


def register_points() -> None:
    """Register the weights of the tables, with their sources."""
    for architecture, file, figures in S3DIS:
        metrics = _s3dis_metrics(figures, "blocks of 1.5 m, tested as PointCNN is", AUTHORS)
        sources: tuple[Source, ...] = (_authors_file(file),)
        if architecture in S3DIS_ON_HUB:
            name, commit, others = S3DIS_ON_HUB[architecture]
            repo_id = f"torch-pointcloud/{name}.s3dis-area5.mit-han-lab"
            sources = (HubFile(repo_id, revision=commit), *sources)
            metrics = _s3dis_metrics(others, "torch-pointcloud's own evaluation", TORCH_POINTCLOUD) + metrics
        data = "areas 1 to 4 and 6 of S3DIS (for research)"
        preprocessing = DENSE_SCENES if architecture.startswith("pvcnnpp") else s3dis.INPUT
        orders = {"torch_pointcloud": TORCH_POINTCLOUD_CLASSES}
        _register(architecture, "s3dis_area5", preprocessing, s3dis.CLASS_NAMES, data, metrics, sources, orders)
    for architecture, tag, file, value in SHAPENET:
        metric = _metric("mean IoU", value, "ShapeNet Part, test", "over shapes, ten votes", AUTHORS)
        data = "ShapeNet Part (for research)" + (", with deep mutual learning" if tag.endswith("_dml") else "")
        _register(
            architecture, tag, shapenet_part.INPUT, shapenet_part.PART_NAMES, data, (metric,), (_authors_file(file),)
        )
    for architecture, file, values in KITTI:
        metrics = tuple(
            _metric(f"{name.lower()} AP, moderate", value, "KITTI, val", "3D boxes, mean of 20 evaluations", AUTHORS)
            for name, value in zip(kitti_frustum.CLASS_NAMES, values, strict=True)
        )
        data = "KITTI (CC BY-NC-SA 3.0)"
        _register(
            architecture, "kitti", kitti_frustum.INPUT, kitti_frustum.CLASS_NAMES, data, metrics, (_authors_file(file),)
        )


def _register(
    architecture: str,
    tag: str,
    preprocessing: PointInput,
    classes: tuple[str, ...],
    data: str,
    metrics: tuple[Metric, ...],
    sources: tuple[Source, ...],
    class_orders: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    spec = WeightsSpec(
        architecture,
        tag,
        len(classes),
        preprocessing,
        class_names=classes,
        licence=LICENCE,
        origin=ORIGIN.format(data=data),
        metrics=metrics,
    )
    register(spec, *sources, class_orders=class_orders)


def _authors_file(name: str) -> UrlFile:
    url, *mirrors = (f"{host}{name}.pth.tar" for host in HOSTS)
    return UrlFile(url, tuple(mirrors))


def _s3dis_metrics(figures: tuple[float, float], protocol: str, source: str) -> tuple[Metric, ...]:
    accuracy, iou = figures
    return (
        _metric("mean IoU", iou, "S3DIS, area 5", protocol, source),
        _metric("point accuracy", accuracy, "S3DIS, area 5", protocol, source),
    )


def _metric(name: str, per_cent: float, dataset: str, protocol: str, source: str) -> Metric:
    return Metric(name, round(per_cent / 100, 4), dataset, protocol, source)
