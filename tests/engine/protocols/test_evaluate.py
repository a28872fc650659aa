"""A model and samples in, figures out: with networks whose answers are known, and with trained ones on real data."""

import pytest
import torch
from torch import nn

import zoo
from zoo.data.video_views import cut_views, video_views
from zoo.engine.metrics import accuracy, confusion_matrix
from zoo.engine.protocols import Cloud, evaluate, merge_folds
from zoo.errors import InputError
from zoo.weights import PointInput, VideoInput, WeightsSpec

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


class Colours(nn.Module):
    """A video's logits are its mean red, green and blue."""

    def __init__(self, resize=16, crop=16):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.dropout = nn.Dropout(0.9)
        self.spec = WeightsSpec("tsm_resnet18", "colours", 3, VideoInput(2, resize, crop, **PLAIN), ("r", "g", "b"))

    def forward(self, clips):
        return self.dropout(clips.mean((1, 3, 4))) * self.scale


class Signs(nn.Module):
    """A point's logits for class 0 and 1 are x and -x; further classes get a constant."""

    def __init__(self, architecture="pvcnn_sem_c1", num_classes=2, constant=0.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.constant = constant
        self.spec = WeightsSpec(architecture, "signs", num_classes, PointInput(4, (), "none", "none"))

    def forward(self, points, shape_ids=None):
        x = points[:, :1] * self.scale
        rest = torch.full_like(x, self.constant).expand(-1, self.spec.num_classes - 2, -1)
        return torch.cat([x, -x, rest], 1)


def clip(*colour, size=(16, 16)):
    return torch.tensor(colour, dtype=torch.uint8)[None, :, None, None].expand(2, 3, *size)


def test_video_accuracy_by_hand():
    samples = [(clip(200, 0, 0), 0), (clip(0, 200, 0), 1), (clip(0, 0, 200), 2), (clip(0, 0, 200), 1)]
    model = Colours()
    for batch_size in (1, 3, 16):
        result = evaluate(model, samples, "center", batch_size=batch_size)
        assert result.figures["top_1_accuracy"] == result.figures["overall_accuracy"] == 3 / 4
        assert result.figures["mean_class_accuracy"] == pytest.approx((1 + 1 / 2 + 1) / 3)
        assert result.confusion.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
        assert result.intervals["top_1_accuracy"] == pytest.approx((0.3006, 0.9544), abs=1e-4)
        assert (result.num_samples, result.class_names) == (4, ("r", "g", "b"))
    assert model.training and model.dropout.training  # as before; dropout took no part


def test_logits_are_averaged_over_the_views():
    # Left a strong red, in the middle and right a weaker green: the logits' mean is red, most views are green.
    frames = torch.zeros(2, 3, 16, 48, dtype=torch.uint8)
    frames[:, 0, :, :16], frames[:, 1, :, 16:] = 250, 100
    views = video_views("twice_x3", VideoInput(2, 16, 16))
    sample = cut_views(frames, [[0, 1], [0, 1]], views)
    result = evaluate(Colours(), [(sample, 0)], views.name, views=views.to_json())
    assert result.figures["top_1_accuracy"] == 1
    assert result.settings["views"]["num_views"] == 6


def test_groups_make_the_intervals():
    samples = [(clip(200, 0, 0), label) for label in (0, 0, 0, 0, 1, 1, 1, 1)]
    low, high = evaluate(Colours(), samples, "center", groups=[0, 0, 0, 0, 1, 1, 1, 1]).intervals["top_1_accuracy"]
    assert (low, high) == (0, 1)  # a recording is all right or all wrong


def points(*xs):
    return torch.tensor([[x, 0.0, 0.0] for x in xs])


@pytest.mark.parametrize("votes", [1, 3])
def test_segmentation_by_hand(votes):
    scenes = [
        (points(1, 2, -1, -2, 5), torch.tensor([0, 0, 1, 0, -1])),
        Cloud(points(-1, -1), torch.tensor([1, 1])),
    ]
    result = evaluate(Signs(), scenes, "scenes", num_votes=votes)
    assert result.confusion.tolist() == [[2, 1], [0, 3]]  # the point labelled -1 does not count
    assert result.figures["overall_accuracy"] == pytest.approx(5 / 6)
    assert result.figures["mean_iou"] == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert result.intervals["overall_accuracy"] == pytest.approx((3 / 4, 1))
    assert result.settings["num_votes"] == votes


def test_blocks_are_merged_by_confidence():
    # The same point as different blocks see it, for example each about its own middle.
    blocks = [([0, 1], points(0.5, 1)), ([1, 2], points(-3, 1))]
    result = evaluate(Signs(), [Cloud(points(0, 0, 0), torch.tensor([0, 1, 0]), blocks=blocks)], "blocks")
    assert result.figures["overall_accuracy"] == 1
    alone = [Cloud(points(0, 0, 0), torch.tensor([0, 1, 0]), blocks=blocks[:1])]
    with pytest.raises(InputError, match="in none of its blocks"):
        evaluate(Signs(), alone, "blocks")


def test_folds_are_summed_not_averaged():
    first = evaluate(Signs(), [(points(1, 1, 1, 1), torch.tensor([0, 0, 0, 1]))], "area1")
    second = evaluate(Signs(), [(points(1, -1), torch.tensor([0, 0])), (points(-1), torch.tensor([1]))], "area2")
    whole = merge_folds("six", [first, second])
    assert whole.confusion.tolist() == [[4, 1], [1, 1]]
    assert whole.figures["mean_iou"] == pytest.approx((4 / 6 + 1 / 3) / 2)
    assert whole.figures["overall_accuracy"] == pytest.approx(5 / 7)
    assert whole.num_samples == 3
    assert [scene.sum().item() for scene in whole.accumulators[0].state()["confusion"]] == [4, 2, 1]
    assert whole.intervals["overall_accuracy"] == (0.5, 1)  # of the second scene alone, of the third alone
    assert first.confusion.tolist() == [[3, 0], [1, 0]]  # as it was
    with pytest.raises(InputError, match="same task"):
        merge_folds("six", [])
    with pytest.raises(InputError, match="same task"):
        merge_folds("six", [first, evaluate(Colours(), [(clip(1, 0, 0), 0)], "center")])


def test_parts_are_those_of_the_category():
    # Class 2 and beyond would win everywhere; an airplane's parts are the classes 0 to 3, a bag's 4 and 5.
    model = Signs("pvcnn_part_c1", 50, constant=100.0)
    samples = [(points(1, 1), torch.tensor([2, 2]), 0), (points(1, 1), torch.tensor([4, 5]), 1)]
    figures = evaluate(model, samples, "shapenet_part").figures
    assert figures["instance_miou"] == pytest.approx((1 + (1 / 2 + 0) / 2) / 2)
    assert figures["class_miou"] == pytest.approx((1 + 1 / 4) / 2)
    with pytest.raises(InputError, match="category"):
        evaluate(model, [(points(1), torch.tensor([0]))], "shapenet_part")


def test_clouds_are_classified_with_votes():
    class Sides(Signs):
        def forward(self, clouds):
            return super().forward(clouds).mean(2)

    model = Sides("pvcnn_cls_c1", 2)
    votes = torch.stack([points(1, 1), points(-5, -5), points(1, 1)])  # most say 0; the mean says 1
    figures = evaluate(model, [(points(1, 2), 0), (points(-1, -2), 1), (votes, 1)], "votes").figures
    assert figures["overall_accuracy"] == 1


def test_mistakes_are_one_sentence():
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate(Colours(), [], "center")
    with pytest.raises(InputError, match="class 3"):
        evaluate(Colours(), [(clip(0, 0, 0), 3)], "center")
    with pytest.raises(InputError, match="cut_views"):
        evaluate(Colours(), [(torch.zeros(1, 2, 3, 8, 9, dtype=torch.uint8), 0)], "center")
    with pytest.raises(InputError, match="2 points and 1 labels"):
        evaluate(Signs(), [(points(1, 1), torch.tensor([0]))], "scenes")
    broken = Colours()
    broken.scale.data.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite"):
        evaluate(broken, [(clip(1, 2, 3), 0)], "center")


def test_a_trained_model_is_measured_as_it_predicts(test_data):
    from zoo.data.tabletop import read_scenes

    scenes = read_scenes(test_data / "points/mosd_tabletop.npz", "test")[:2]
    predictor = zoo.load("pvcnn_sem_c0p25.mosd", device="cpu")
    result = evaluate(predictor.model, scenes, "scenes")
    # The predictor centres every pass on itself and averages; the answers are nearly the same.
    labels = [predictor(cloud).labels for cloud, _ in scenes]
    own = sum(
        confusion_matrix(found, torch.from_numpy(there), 2) for found, (_, there) in zip(labels, scenes, strict=True)
    )
    assert result.figures["overall_accuracy"] == pytest.approx(accuracy(own), abs=0.01)
    assert result.figures["overall_accuracy"] > 0.9
