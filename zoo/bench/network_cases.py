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


def network_cases(name: str, device: str) -> list[Case]:
    """A network of ``NETWORKS`` as it is created, and one for frames with its weights channels-last as well."""
    layouts = [torch.contiguous_format]
    if name.startswith("tsm_"):
        layouts.append(torch.channels_last)
    return [_case(name, device, layout) for layout in layouts]


def _case(name: str, device: str, layout: torch.memory_format) -> Case:
    """A network with random weights, on noise."""
    model, size = create_model(name).eval().to(torch.device(device)), NETWORKS[name]
    model.to(memory_format=layout)
    inputs: tuple[Tensor, ...] = (torch.rand(size, device=device) * 2 - 1,)
    if "_part" in name or "frustum" in name:  # what shape the cloud has, or what is looked for
        inputs += (torch.zeros(size[0], dtype=torch.int64, device=device),)

    @torch.inference_mode()
    def call() -> None:
        model(*inputs)

    @torch.inference_mode()
    def plain() -> None:
        with_plain_operators(model, inputs)

    shape = " x ".join(map(str, size))
    described = f"{shape}, channels-last" if layout == torch.channels_last else shape
    return Case(name, described, {"call": call, "reference": plain})
