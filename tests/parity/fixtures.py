"""Build a fixture's checkpoint as a real file in its authors' layout, and its input."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.parity import recipe

FOLDER = Path(__file__).parent


def load(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def tensors(fixture):
    """The fixture's tensors, by the names of the released file."""
    state = {name: torch.from_numpy(recipe.tensor_for(name, shape)) for name, shape in fixture["state_dict"].items()}
    for name, values in fixture.get("overrides", {}).items():
        state[name] = torch.tensor(values)
    if "size_templates" in fixture.get("model", {}):
        templates = torch.tensor(fixture["model"]["size_templates"])
        state[fixture["checkpoint"]["prefix"] + "size_templates"] = templates.unsqueeze(0)
    return state


def write_checkpoint(fixture, folder, name="checkpoint.pth.tar"):
    layout, state = fixture["checkpoint"], tensors(fixture)
    path = folder / name
    if layout.get("format") == "safetensors":
        save_file(state, path)
    else:
        torch.save({layout["state_dict"]: state, "epoch": 7} if layout["state_dict"] else state, path)
    return path


def make_input(fixture):
    spec = fixture["input"]
    if spec["function"] == "video_for":
        return torch.from_numpy(recipe.video_for(fixture["name"], spec["shape"]))
    points = recipe.points_for(fixture["name"], spec["batch"], spec["num_points"], spec["extra_channels"])
    points[:, 2] += spec.get("offset_z", 0)
    return torch.from_numpy(points)


def assert_agrees(actual, expected):
    """max |a - b| <= 1e-3 * max(1, max |b|), the agreement that the fixtures ask for."""
    expected = np.asarray(expected, dtype=np.float32)
    actual = actual.detach().numpy()
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-3 * max(1.0, np.abs(expected).max())
