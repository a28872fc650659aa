"""Small models with batch norms as after training."""

import torch
from torch import nn

import zoo
from zoo.export.eager import NORMS
from zoo.hub.golden import golden_input


def make(name, **arguments):
    """A model, and an input of it."""
    torch.manual_seed(0)
    model = zoo.create_model(name, **arguments).eval()
    for norm in model.modules():
        if isinstance(norm, NORMS):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    return model, tuple(golden_input(model).values())
