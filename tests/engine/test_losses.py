"""What is learnt from: classes, each other's answers, and mixed clips."""

import pytest
import torch

from zoo.engine.config import OptimConfig
from zoo.engine.losses import ClassLoss, MutualLoss
from zoo.engine.mixing import create_mixing
from zoo.errors import InputError


def test_points_without_a_class_do_not_count():
    logits, target = torch.randn(2, 3, 5), torch.tensor([[0, 1, 2, -1, 0], [2, -1, -1, 1, 1]])
    weights = [1.0, 2.0, 0.5]
    loss, weight = ClassLoss(3, weights, label_smoothing=0.1)(logits, target)
    mean = torch.nn.functional.cross_entropy(logits, target, torch.tensor(weights), None, -1, label_smoothing=0.1)
    torch.testing.assert_close(loss / weight.float(), mean)
    with pytest.raises(InputError, match="2 weights for 3 classes"):
        ClassLoss(3, [1.0, 1.0])


def test_mutual_networks_learn_what_the_other_answers():
    logits = torch.randn(2, 4, 3, requires_grad=True)
    target = torch.tensor([0, 1, 2, -1])
    loss, weight = MutualLoss(ClassLoss(3))(logits, target)
    first, second = logits.softmax(2)[:, :3].detach()
    apart = (second * (second / first).log()).sum() + (first * (first / second).log()).sum()
    alone = sum(ClassLoss(3)(network, target)[0] for network in logits)
    torch.testing.assert_close(loss, alone + apart)
    assert weight.item() == 3
    loss.backward()
    # The gradient of both terms by the logits is what is answered less what is to be answered.
    expected = 2 * first - second - torch.eye(3)
    torch.testing.assert_close(logits.grad[0, :3], expected)
    assert not logits.grad[:, 3].any()


def test_networks_that_agree_learn_from_the_labels_alone():
    logits, target = torch.randn(1, 4, 3, 6).expand(3, -1, -1, -1), torch.randint(0, 3, (4, 6))
    loss, _ = MutualLoss(ClassLoss(3))(logits, target)
    torch.testing.assert_close(loss, 3 * ClassLoss(3)(logits[0], target)[0])


def clips():
    """Clips [4, T, C, H, W] of one brightness each."""
    return torch.arange(4.0).view(4, 1, 1, 1, 1).expand(4, 5, 3, 8, 8).contiguous()


def test_mixup_mixes_clips_as_it_mixes_labels():
    torch.manual_seed(0)
    mix = create_mixing(OptimConfig(mixup=0.8), "video_classification", 4)
    (mixed,), shares = mix((clips(),), torch.arange(4))
    assert type(mixed) is torch.Tensor
    torch.testing.assert_close(mixed[:, 0, 0, 0, 0], shares @ torch.arange(4.0))
    torch.testing.assert_close(shares.sum(1), torch.ones(4))
    logits = torch.randn(4, 4)
    loss, weight = ClassLoss(4, label_smoothing=0.2)(logits, shares)
    soft = 0.8 * shares + 0.2 / 4
    torch.testing.assert_close(loss, -(soft * logits.log_softmax(1)).sum())
    assert weight.item() == pytest.approx(4)


def test_a_cutmix_rectangle_is_the_same_in_all_frames():
    torch.manual_seed(3)
    mix = create_mixing(OptimConfig(cutmix=1.0), "video_classification", 4)
    (mixed,), shares = mix((clips(),), torch.arange(4))
    cut = mixed != clips()
    assert 0 < cut.float().mean() < 1 and (cut == cut[:, :1, :1]).all()
    torch.testing.assert_close(shares.diagonal(), 1 - cut.float().mean((1, 2, 3, 4)))
    assert set(mixed[1].unique().tolist()) == {0.0, 1.0}


def test_with_both_each_has_its_turn():
    mix = create_mixing(OptimConfig(mixup=1.0, cutmix=1.0), "video_classification", 4)
    kinds = set()
    for seed in range(20):
        torch.manual_seed(seed)
        (mixed,), _ = mix((clips(),), torch.arange(4))
        kinds.add(mixed[1].unique().numel())
    assert kinds == {1, 2}


def test_points_are_not_mixed():
    with pytest.raises(InputError, match="for videos"):
        create_mixing(OptimConfig(mixup=0.2), "semantic_segmentation", 4)
