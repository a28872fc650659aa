"""What a user of torch.hub finds: every architecture, with the zoo's own arguments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo
from zoo.errors import UnknownNameError

ROOT = str(Path(__file__).parents[2])


def load(*arguments, **keywords):
    return torch.hub.load(ROOT, *arguments, source="local", **keywords)


def test_pretrained_models_come_by_name_or_tag():
    points = torch.rand(1, 6, 64)
    expected = zoo.create_model("pvcnn_sem_c0p25", pretrained=True).eval()(points)
    for pretrained in (True, "mosd"):
        assert torch.equal(load("pvcnn_sem_c0p25", pretrained=pretrained).eval()(points), expected)
    assert load("pvcnn_sem_c0p25", num_classes=5).num_classes == 5


def test_mistakes_are_the_zoos_own_errors():
    with pytest.raises(UnknownNameError, match="mosd"):
        load("pvcnn_sem_c0p25", pretrained="nothing")
    with pytest.raises(TypeError, match="colour"):
        load("pvcnn_sem_c0p25", colour=True)


NEEDED = """
import sys, tomllib, torch
for name in ("tsm_mobilenetv2_online", "pvcnn_sem_c0p25"):
    torch.hub.load({root!r}, name, source="local", pretrained=True)
import hubconf
project = tomllib.load(open({root!r} + "/pyproject.toml", "rb"))["project"]["dependencies"]
names = {{"pyyaml" if name == "yaml" else name for name in hubconf.dependencies}}
declared = {{line.split(">")[0].split("[")[0].lower() for line in project}}
loaded = {{name for name in declared if {{"pyyaml": "yaml"}}.get(name, name) in sys.modules}} - {{"torchvision"}}
print(sorted(loaded - names), sorted(names - declared))
"""


@pytest.mark.slow  # a process of its own
def test_what_is_missing_is_named_before_anything_is_built():
    """torch.hub looks for the modules in ``dependencies``: all that a pretrained model needs are there."""
    done = subprocess.run(
        [sys.executable, "-c", NEEDED.format(root=ROOT)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": ROOT},
    )
    assert done.stdout == "[] []\n"


def test_every_architecture_is_an_entrypoint():
    hubconf = torch.hub._import_module("hubconf", f"{ROOT}/hubconf.py")
    entries = {name for name, value in vars(hubconf).items() if callable(value) and not name.startswith("_")}
    assert entries == set(zoo.list_models())
    assert "mosd" not in entries and "pretrained" in hubconf.tsm_resnet50.__doc__
