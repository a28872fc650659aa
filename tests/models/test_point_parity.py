"""The point networks compute what their authors' networks compute from the same tensors (tests/parity)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo.models  # noqa: F401
from zoo.registry import find_builder

FOLDER = Path(__file__).parents[1] / "parity"
ARCHITECTURES = {
    "shapenet_pvcnn_c0p25": "pvcnn_part_c0p25",
    "shapenet_pointnet": "pointnet_part",
    "shapenet_pointnet2msg": "pointnet2_part_msg",
    "s3dis_pvcnn_c1": "pvcnn_sem_c1",
    "s3dis_pvcnn2_c0p5": "pvcnnpp_sem_c0p5",
    "kitti_frustum_pvcnne": "frustum_pvcnne",
}


def load_recipe() -> Any:
    spec = importlib.util.spec_from_file_location("recipe", FOLDER / "recipe.py")
    assert spec is not None and spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    return recipe


RECIPE = load_recipe()


def state_of(fixture: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    state = {name: torch.from_numpy(RECIPE.tensor_for(name, shape)) for name, shape in fixture["state_dict"].items()}
    state |= {name: torch.tensor(values) for name, values in fixture.get("overrides", {}).items()}
    if "size_templates" in fixture["model"]:
        state[prefix + "size_templates"] = torch.tensor(fixture["model"]["size_templates"]).view(1, -1, 3)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def assert_agree(ours: Tensor, theirs: Tensor, what: str) -> None:
    difference = (ours.double() - theirs.double()).abs().max().item()
    assert difference <= 1e-3 * max(1.0, theirs.abs().max().item()), f"{what} differs by {difference}"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_are_the_authors(name: str) -> None:
    fixture = json.loads((FOLDER / f"{name}.json").read_text())
    model = find_builder(ARCHITECTURES[name])()
    model.load_state_dict(state_of(fixture, fixture["checkpoint"]["prefix"]))
    model.eval()
    source = fixture["input"]
    points = RECIPE.points_for(name, source["batch"], source["num_points"], source["extra_channels"])
    points[:, 2] += np.float32(source.get("offset_z", 0))
    ids = [torch.tensor(source[key]) for key in ("shape_ids", "class_ids") if key in source]
    with torch.inference_mode():
        outputs = model(torch.from_numpy(points), *ids)
    outputs = outputs if isinstance(outputs, dict) else {"logits": outputs}
    assert outputs.keys() == fixture["outputs"].keys()
    for key, values in fixture["outputs"].items():
        ours = outputs[key]
        if key in ("logits", "mask_logits"):
            ours = ours[:, :, :: fixture["point_stride"]]
        assert_agree(ours, torch.tensor(values), key)
