"""Optimisers: LARS for very large batches."""

import pytest
import torch

import zoo
from zoo.engine.config import OptimConfig
from zoo.engine.optim import create_optimizer, learning_rate, set_learning_rate
from zoo.errors import InputError


def test_a_step_of_lars_adapts_weights_but_not_biases_and_normalisations():
    model = zoo.create_model("pointnet_cls", num_classes=3, width_multiplier=0.125)
    optim = OptimConfig(name="lars", lr=0.4, lr_batch_size=64, warmup=0.5, weight_decay=1e-4, momentum=0.9)
    optimizer = create_optimizer([model], optim, 256)
    set_learning_rate(optimizer, learning_rate(optim, 0, 10))
    rate = 0.4 * (256 / 64) / 5  # grown with the batch, in the first of five steps in which it rises
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    model(torch.randn(8, model.in_channels, 64)).square().sum().backward()
    optimizer.step()
    shapes = set()
    for name, parameter in model.named_parameters():
        start, gradient = before[name], parameter.grad
        step = rate * gradient
        if parameter.dim() > 1:
            decayed = gradient + 1e-4 * start
            step = rate * decayed * 0.001 * start.norm() / (gradient.norm() + 1e-4 * start.norm() + 1e-8)
        torch.testing.assert_close(start - parameter.detach(), step, rtol=1e-3, atol=1e-6)
        shapes.add(parameter.dim() > 1)
    assert shapes == {True, False}


def test_lars_without_decay_is_refused():
    model = zoo.create_model("pointnet_cls", num_classes=3, width_multiplier=0.125)
    with pytest.raises(InputError, match=r"optim\.weight_decay"):
        create_optimizer([model], OptimConfig(name="lars", weight_decay=0.0), 256)
