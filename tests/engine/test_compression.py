"""What processes send each other: fewer bytes, and nothing of the gradients is lost."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tests.data.test_training_sets import write_scenes
from zoo.engine.checkpoint import load_checkpoint
from zoo.engine.compression import DeepGradientCompression, create_exchange, sparsity_of
from zoo.engine.config import DataConfig, OptimConfig, SystemConfig, TrainConfig
from zoo.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def alone():
    """A group of one process, in which hooks are at work."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 9, 3))
    return layers.to(memory_format=torch.channels_last)


def sgd(model, nesterov=False):
    decays = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1}]
    plain = [{"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    return torch.optim.SGD(decays + plain, lr=0.05, momentum=0.9, nesterov=nesterov)


def learn(model, optimizer, steps=6):
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(8, 4, 5, 5)).square().mean().backward()
        optimizer.step()


def hooked(optimizer, model, **options):
    exchange = DeepGradientCompression(optimizer, **options)
    parallel = DistributedDataParallel(model, bucket_cap_mb=exchange.bucket_mb)
    parallel.register_comm_hook(exchange, type(exchange).send)
    return parallel, exchange


@pytest.mark.parametrize("nesterov", [False, True])
def test_where_nothing_is_left_out_it_is_sgd_with_momentum(alone, nesterov):
    plain, model = network(), network()
    learn(plain, sgd(plain, nesterov))
    optimizer = sgd(model, nesterov)
    parallel, exchange = hooked(optimizer, model, sparsity=0.0)
    learn(parallel, optimizer)
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], expected, rtol=1e-4, atol=1e-6)
    assert exchange.bytes_sent == 6 * sum(parameter.nbytes for parameter in model.parameters())


def test_what_is_not_sent_now_is_sent_later(alone):
    """With a gradient that stays the same, weights come as far as all the gradients would have brought them."""
    model = nn.Linear(64, 4, bias=False)
    start = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    parallel, exchange = hooked(optimizer, model, sparsity=0.75)
    for _ in range(8):
        optimizer.zero_grad()
        (parallel(torch.ones(1, 64)) @ torch.arange(1.0, 5.0)).sum().backward()
        optimizer.step()
    gradient = torch.arange(1.0, 5.0).unsqueeze(1).expand(4, 64)
    (memory,) = exchange.state().values()
    torch.testing.assert_close(start - model.weight + memory["unsent"].view(4, 64), 8 * gradient)
    assert (model.weight != start).float().mean() > 0.5
    assert exchange.bytes_sent == 8 * 64 * 8  # a quarter of 256 values, with their places


def test_momentum_begins_anew_where_a_sum_was_sent(alone):
    model = nn.Linear(64, 4, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5)
    parallel, exchange = hooked(optimizer, model, sparsity=0.75)
    (parallel(torch.randn(1, 64))).sum().backward()
    (memory,) = exchange.state().values()
    sent = model.weight.grad.flatten() != 0
    assert sent.sum() == 64
    assert not memory["momentum"][sent].any() and memory["momentum"][~sent].all()


def test_gradients_are_clipped_all_together(alone):
    model = network()
    parallel, _ = hooked(torch.optim.SGD(model.parameters(), lr=1.0), model, sparsity=0.0, clip=0.1)
    for _ in range(2):  # the order in which gradients come is found in the first
        model.zero_grad()
        (100 * parallel(torch.randn(8, 4, 5, 5)).sum()).backward()
        norm = torch.stack([parameter.grad.norm() for parameter in model.parameters()]).norm()
        assert norm.item() == pytest.approx(0.1, rel=1e-4)


def test_the_warm_up_leaves_out_more_and_more():
    sparsities = [sparsity_of(step, 8, 0.999) for step in range(9)]
    assert sparsities == [0.75, 0.75, 0.9375, 0.9375, 1 - 1 / 64, 1 - 1 / 64, 1 - 1 / 256, 1 - 1 / 256, 0.999]
    assert sparsity_of(4, 8, 0.9) == 0.9


def test_settings_that_do_not_go_together_are_refused():
    model = network()
    config = TrainConfig("tsm_resnet18", DataConfig("videos"), system=SystemConfig(gradient_compression="dgc"))
    with pytest.raises(InputError, match=r"optim\.name sgd"):
        create_exchange(config, torch.optim.AdamW(model.parameters()), 0, 10, 2)
    config.system.amp = "fp16"
    with pytest.raises(InputError, match="bf16"):
        create_exchange(config, sgd(model), 0, 10, 2)


def test_one_process_keeps_the_momentum_of_its_optimizer():
    config = TrainConfig("tsm_resnet18", DataConfig("videos"), system=SystemConfig(gradient_compression="dgc"))
    config.optim = OptimConfig(name="sgd")
    optimizer = sgd(network())
    create_exchange(config, optimizer, 0, 10, 1)
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


def two_processes(launcher, folder, name, *more):
    """The last row of the figures, and the weights, of a run of two processes."""
    scenes = folder / "scenes.npz"
    if not scenes.exists():
        write_scenes(scenes)
    arguments = json.dumps({"in_channels": 6, "width_multiplier": 0.25})
    config = ["--model", "pointnet_sem", "--model_args", arguments, "--data.name", "tabletop", "--data.path", scenes]
    config += ["--data.num_points", 32, "--data.samples_per_scene", 2, "--epochs", 2, "--batch_size", 8]
    config += ["--optim.name", "sgd", "--optim.lr", 0.005, "--optim.grad_clip", 0, "--system.compression_warmup", 0]
    codes, said = launcher.run("train.py", *config, "--out", folder / name, *more, count=2)
    assert codes == [0, 0], said
    with open(folder / name / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    return rows, load_checkpoint(folder / name / "last")[0]["model"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, launcher):
    """A run that sends everything."""
    return two_processes(launcher, tmp_path_factory.mktemp("whole"), "whole")


@pytest.mark.slow
def test_two_processes_send_less_and_learn(tmp_path, whole, launcher):
    rows, expected = whole
    numbers = {name: tensor.numel() for name, tensor in expected.items() if "running" not in name}
    numbers = {name: count for name, count in numbers.items() if "num_batches" not in name}
    assert int(rows[-1]["bytes_sent"]) == 4 * sum(numbers.values())

    dgc = ["--system.gradient_compression", "dgc", "--system.compression_sparsity"]
    same, weights = two_processes(launcher, tmp_path, "dense", *dgc, 0)
    assert same[-1]["bytes_sent"] == rows[-1]["bytes_sent"]
    for name in numbers:
        torch.testing.assert_close(weights[name], expected[name], rtol=1e-3, atol=1e-4)

    further = [*dgc, 0.99, "--optim.schedule", "constant"]
    sparse, through = two_processes(launcher, tmp_path, "through", *further)
    vectors = sum(count for name, count in numbers.items() if expected[name].dim() == 1)
    wanted = 4 * vectors + 8 * 0.01 * (sum(numbers.values()) - vectors)
    assert int(sparse[-1]["bytes_sent"]) == pytest.approx(wanted, rel=0.02)
    assert float(sparse[-1]["loss"]) < float(sparse[0]["loss"])

    part, _ = two_processes(launcher, tmp_path, "parts", *further, "--epochs", 1)
    parts = two_processes(launcher, tmp_path, "parts", *further, "--resume", "auto")[1]
    assert part and all(torch.equal(parts[name], through[name]) for name in through)


@pytest.mark.slow
def test_two_processes_send_products_of_narrow_matrices(tmp_path, whole, launcher):
    rows, _ = whole
    low, _ = two_processes(launcher, tmp_path, "low", "--system.gradient_compression", "powersgd")
    assert int(low[-1]["bytes_sent"]) < 0.2 * int(rows[-1]["bytes_sent"]) < int(rows[-1]["bytes_sent"])
    assert float(low[-1]["loss"]) < float(low[0]["loss"])
