"""The largest of many is the same with and without a gradient, and in every precision."""

from __future__ import annotations

import pytest
import torch

from zoo.layers.pooling import max_over


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_largest_is_the_same_with_and_without_a_gradient(dtype: torch.dtype, layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 5, 7).to(dtype).contiguous(memory_format=layout).requires_grad_()
    for dim, keepdim in ((3, False), (2, True), (1, False), (-4, False)):
        learnt = max_over(x, dim, keepdim)
        with torch.no_grad():
            found = max_over(x, dim, keepdim)
        assert torch.equal(found, learnt) and found.dtype == dtype


def test_one_of_equal_values_gets_the_gradient() -> None:
    x = torch.ones(1, 4, requires_grad=True)
    max_over(x, 1).sum().backward()
    assert x.grad is not None and sorted(x.grad.flatten().tolist()) == [0, 0, 0, 1]


def test_what_is_no_number_is_not_passed_over() -> None:
    assert max_over(torch.tensor([[1.0, float("nan"), 2.0]]), 1).isnan().all()


def test_many_at_once_by_vmap() -> None:
    x = torch.randn(2, 1, 3, 4, 5)
    with torch.no_grad():
        assert torch.equal(torch.vmap(lambda each: max_over(each, 3))(x), x.amax(4))
    ones = torch.ones(2, 1, 4)
    grad = torch.func.grad(lambda many: torch.vmap(lambda each: max_over(each, 1))(many).sum())(ones)
    assert sorted(grad[0, 0].tolist()) == [0, 0, 0, 1]
