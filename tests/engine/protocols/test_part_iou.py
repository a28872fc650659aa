"""ShapeNet Part's figures, by hand."""

import pytest
import torch

from zoo.data.shapenet_part import SHAPE_NAMES
from zoo.engine.protocols.part_iou import PARTS_PER_CATEGORY, PartIoU, parts_of, shape_iou


def test_the_parts_of_the_categories():
    assert len(PARTS_PER_CATEGORY) == len(SHAPE_NAMES) == 16 and sum(PARTS_PER_CATEGORY) == 50
    assert list(parts_of(SHAPE_NAMES.index("Airplane"))) == [0, 1, 2, 3]
    assert list(parts_of(SHAPE_NAMES.index("Motorbike"))) == [30, 31, 32, 33, 34, 35]
    assert list(parts_of(SHAPE_NAMES.index("Table"))) == [47, 48, 49]


def test_iou_of_a_shape():
    targets = torch.tensor([0, 0, 0, 0, 1, 1])
    predictions = torch.tensor([0, 0, 0, 1, 1, 2])
    # 0: 3 of 4. 1: 1 of 3. 2: predicted alone, 0. 3: in neither, 1.
    assert shape_iou(predictions, targets, range(4)) == pytest.approx((3 / 4 + 1 / 3 + 0 + 1) / 4)
    with pytest.raises(ValueError, match="0 to 3"):
        shape_iou(torch.tensor([4, 0, 0, 0, 0, 0]), targets, range(4))


def test_instances_and_classes_are_averaged_apart():
    meter = PartIoU()
    bag = torch.tensor([4, 4, 5, 5])
    meter.update(bag, bag, 1)  # 1
    meter.update(torch.tensor([4, 4, 4, 5]), bag, 1)  # (2/3 + 1/2) / 2
    mug = torch.tensor([36, 36, 37, 37])
    meter.update(torch.full((4,), 36), mug, 11)  # (1/2 + 0) / 2
    ious = [1, 7 / 12, 1 / 4]
    figures = meter.compute()
    assert figures["instance_miou"] == pytest.approx(sum(ious) / 3)
    assert figures["class_miou"] == pytest.approx(((ious[0] + ious[1]) / 2 + ious[2]) / 2)
    assert meter.by_category()[11] == pytest.approx(1 / 4)
    low, high = meter.intervals()["instance_miou"]
    assert 1 / 4 <= low < high <= 1


def test_shapes_of_two_processes_are_put_together():
    bag = torch.tensor([4, 4, 5, 5])
    shapes = [torch.tensor(each) for each in ([4, 4, 5, 5], [4, 4, 4, 5], [4, 4, 4, 4])]
    whole, even, odd = PartIoU(), PartIoU(), PartIoU()
    for number, shape in enumerate(shapes):
        whole.update(shape, bag, 1)
        (odd if number % 2 else even).update(shape, bag, 1, number)
    odd.merge(even.state())
    assert odd.compute() == whole.compute()
