"""Whole networks with the operators that are in use here, beside the same with plain PyTorch ones."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.bench.cases import Case
from zoo.bench.peers import with_plain_operators
from zoo.create import create_model

NETWORKS: dict[str, tuple[int, ...]] = {
    "pvcnn_part_c1": (1, 6, 2048),
    "pvcnn_sem_c1": (1, 9, 4096),
    "pvcnn_sem_c0p25": (1, 9, 4096),
    "pvcnnpp_sem_c1": (1, 9, 8192),
    "pvcnn_cls_c1": (1, 3, 2048),
    "frustum_pvcnne": (1, 4, 1024),
    "pointnet2_part_ssg": (1, 6, 2048),
    "pointnet2_part_msg": (1, 6, 2048),
    "tsm_resnet50": (1, 8, 3, 224, 224),
    "tsm_mobilenetv2": (1, 8, 3, 224, 224),
    "tsm_mobilenetv2_online": (1, 8, 3, 224, 224),
}
"""The sizes of what they are called with: clouds [B, C, N] or clips [N, T, C, H, W]."""


def network_case(name: str, device: str) -> Case:
    """A network of ``NETWORKS`` with random weights, on noise."""
    model, size = create_model(name).eval().to(device), NETWORKS[name]
    inputs: tuple[Tensor, ...] = (torch.rand(size, device=device) * 2 - 1,)
    if "_part" in name or "frustum" in name:  # what shape the cloud has, or what is looked for
        inputs += (torch.zeros(size[0], dtype=torch.int64, device=device),)

    @torch.inference_mode()
    def call() -> None:
        model(*inputs)

    @torch.inference_mode()
    def plain() -> None:
        with_plain_operators(model, inputs)

    return Case(name, " x ".join(map(str, size)), {"call": call, "reference": plain})
