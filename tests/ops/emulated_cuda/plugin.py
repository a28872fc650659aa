"""For ``pytest -p``, with emulated kernels in the place of the CPU kernels: what is not compiled is as on a GPU too."""

from __future__ import annotations

import torch

from zoo.ops import gradients, products

for _name in (
    "shifted_pointwise_conv",
    "shifted_pointwise_conv_input",
    "shifted_pointwise_conv_weight",
    "online_pointwise_conv",
):
    torch.library.impl(f"zoo::{_name}", "cpu", getattr(products, _name))
gradients.in_order = lambda x: torch.are_deterministic_algorithms_enabled()
