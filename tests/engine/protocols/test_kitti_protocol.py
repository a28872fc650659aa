"""KITTI's average precision: by hand, and against its rules written as plain loops."""

import math

import numpy as np
import pytest

from zoo.engine.protocols.kitti import (
    DIFFICULTIES,
    MIN_OVERLAP,
    average_precision,
    evaluate_kitti,
    pairwise_overlap,
    precision_curve,
    recall_thresholds,
)
from zoo.engine.protocols.kitti_files import read_kitti_objects
from zoo.errors import InputError


def line(name="Car", x=0.0, score=None, height=50.0, truncated=0.0, occluded=0, turn=0.0, z=20.0):
    """An object at ``x`` metres; 50 pixels to the metre in the picture, so that they overlap there as on the ground."""
    left = 600 + 50 * x
    text = f"{name} {truncated} {occluded} 0 {left} 100 {left + 200} {100 + height} 1.5 1.6 4 {x} 1.7 {z} {turn}"
    return text if score is None else f"{text} {score}"


def folders(tmp_path, *pictures):
    """Labels and results, from (lines of labels, lines of results) for each picture."""
    for kind in ("labels", "results"):
        (tmp_path / kind).mkdir(exist_ok=True)
    for number, lines in enumerate(pictures):
        for kind, each in zip(("labels", "results"), lines, strict=True):
            (tmp_path / kind / f"{number:06d}.txt").write_text("\n".join(each) + "\n")
    return tmp_path / "labels", tmp_path / "results"


def curve(tmp_path, *pictures, name="car", metric="3d", difficulty="easy"):
    labels, results = folders(tmp_path, *pictures)
    there = [read_kitti_objects(path) for path in sorted(labels.iterdir())]
    found = [read_kitti_objects(path, scored=True) for path in sorted(results.iterdir())]
    return precision_curve(found, there, name, metric, difficulty)


def test_three_detections_by_hand(tmp_path):
    labels = [line(x=0), line(x=10)]
    results = [line(x=0, score=0.9), line(x=30, score=0.8), line(x=10.2, score=0.7)]
    found = curve(tmp_path, (labels, results))
    # The first hit is the step at recall 0, the second the next; there are no more hits for the other 39.
    assert found[:3].tolist() == [1, pytest.approx(2 / 3), 0]
    assert average_precision(found, 11) == pytest.approx(1 / 11)
    assert average_precision(found, 40) == pytest.approx(2 / 3 / 40)


def many(num_found, wrong_score=None):
    """40 pictures with 10 labels each, of which ``num_found`` are found, and a wrong detection for each of them."""
    pictures = []
    for picture in range(40):
        numbers = range(picture * 10, picture * 10 + 10)
        labels = [line(x=10 * (number % 10)) for number in numbers]
        results = [line(x=10 * (n % 10), score=0.5 + n / 1000) for n in numbers if n < num_found]
        if wrong_score is not None:
            results += [line(x=-10 - 10 * (n % 10), score=wrong_score) for n in numbers if n < num_found]
        pictures.append((labels, results))
    return pictures


def test_r11_against_r40(tmp_path):
    perfect = curve(tmp_path, *many(400))
    assert average_precision(perfect, 11) == average_precision(perfect, 40) == 1
    # Half are found, nothing is wrong: the curve is 1 at recall 0, 1/40, ... 1/2, and 0 beyond.
    half = curve(tmp_path, *many(200))
    assert average_precision(half, 11) == pytest.approx(6 / 11)
    assert average_precision(half, 40) == pytest.approx(20 / 40)
    # As many wrong ones, less certain than the right ones, change nothing; more certain, half of all is wrong.
    assert average_precision(curve(tmp_path, *many(200, 0.1)), 40) == pytest.approx(20 / 40)
    assert average_precision(curve(tmp_path, *many(200, 2.0)), 40) == pytest.approx(20 / 40 / 2)
    assert average_precision(curve(tmp_path, *many(200, 2.0)), 11) == pytest.approx(6 / 11 / 2)


def test_steps_of_recall():
    assert recall_thresholds(np.array([0.3, 0.9]), 2).tolist() == [0.9, 0.3]
    many_scores = recall_thresholds(np.arange(400), 400)
    assert len(many_scores) == 41 and many_scores[:3].tolist() == [399, 390, 380]


HIT, WRONG = [1.0], [0.5]


@pytest.mark.parametrize(
    ("label", "result", "first"),
    [
        ({}, {}, HIT),
        ({}, {"name": "CAR"}, HIT),  # case does not matter
        ({}, {"x": 0.6}, HIT),  # 3.4 / 4.6 = 0.74 overlap
        ({}, {"x": 0.8}, WRONG),  # 3.2 / 4.8 = 0.67 is too little for a car
        ({"name": "Van"}, {}, HIT),  # a neighbouring class: the detection counts neither way
        ({"name": "Truck"}, {}, WRONG),
        ({"occluded": 1}, {}, HIT),  # too hard for "easy"
        ({"truncated": 0.2}, {}, HIT),
        ({"height": 40}, {}, HIT),
        ({"x": 30}, {"height": 40}, WRONG),
        ({"x": 30}, {"height": 39.9}, HIT),  # too small a detection is ignored
    ],
)
def test_what_counts_as_wrong(tmp_path, label, result, first):
    """Besides one object that is found: a detection that counts as wrong halves the precision."""
    labels = [line(x=100), line(**label)]
    results = [line(x=100, score=0.1), line(score=0.9, **result)]
    assert curve(tmp_path, (labels, results))[:1].tolist() == first


def test_regions_without_labels_excuse_in_the_picture(tmp_path):
    region = "DontCare -1 -1 -10 590 90 810 160 -1 -1 -1 -1000 -1000 -1000 -10"
    picture = ([line(x=100), region], [line(x=100, score=0.1), line(x=0, score=0.9)])
    assert curve(tmp_path, picture, metric="2d")[0] == 1
    assert curve(tmp_path, picture, metric="bev")[0] == 0.5


def test_difficulties_and_classes(tmp_path):
    labels = [line("Pedestrian"), line("Pedestrian", x=10, occluded=1), line("Pedestrian", x=20, occluded=2)]
    results = [line("Pedestrian", x=x, score=0.9) for x in (0, 10, 20)]
    figures = evaluate_kitti(*folders(tmp_path, (labels, results))).figures
    assert len(figures) == 3 * 3 * 3 * 2
    # 1, 2 and 3 labels are to be found, and as many steps of the curve are reached.
    shares = [figures[f"pedestrian_3d_{difficulty}_r40"] for difficulty in DIFFICULTIES]
    assert shares == pytest.approx([0 / 40, 1 / 40, 2 / 40])
    assert math.isnan(figures["car_2d_easy_r11"])


def test_turned_boxes_lie_apart_on_the_ground(tmp_path):
    picture = ([line(turn=0.3)], [line(turn=0.3 + math.pi / 2, score=0.9)])
    assert curve(tmp_path, picture, metric="2d")[0] == 1
    assert curve(tmp_path, picture, metric="bev")[0] == 0
    # 4 x 1.6 metres; the heights are the same, so the volumes overlap as the grounds do.
    labels, results = folders(tmp_path, picture)
    pair = (
        read_kitti_objects(results / "000000.txt", scored=True),
        read_kitti_objects(labels / "000000.txt"),
    )
    expected = 1.6**2 / (2 * 4 * 1.6 - 1.6**2)
    assert [pairwise_overlap(*pair, metric).item() for metric in ("bev", "3d")] == pytest.approx([expected] * 2)


def loops(detections, labels, name, metric, difficulty):
    """The precisions at the steps of recall, by the rules of the development kit, one comparison at a time."""
    level, least = DIFFICULTIES[difficulty], MIN_OVERLAP[name]
    neighbour = {"car": "van", "pedestrian": "person_sitting"}.get(name)

    def match(found, there, threshold):
        overlap = pairwise_overlap(found, there, metric)
        kinds = []
        for i in range(len(found)):
            small = int(abs(found.image[i, 1] - found.image[i, 3])) < level.min_height
            kinds.append(1 if small else 0 if found.types[i] == name else -1)
        taken = [False] * len(found)
        hits, labels_to_find = [], 0
        for j in range(len(there)):
            if there.types[j] not in (name, neighbour):
                continue
            height = there.image[j, 3] - there.image[j, 1]
            hard = there.occlusion[j] > level.max_occlusion or there.truncation[j] > level.max_truncation
            ignored = there.types[j] == neighbour or hard or height <= level.min_height
            labels_to_find += not ignored
            best, best_value, best_is_small = None, 0.0, False
            for i in range(len(found)):
                if kinds[i] < 0 or taken[i] or overlap[i, j] <= least:
                    continue
                if threshold is None:
                    if best is None or found.score[i] > best_value:
                        best, best_value = i, found.score[i]
                elif found.score[i] >= threshold:
                    if kinds[i] == 0 and (best_is_small or overlap[i, j] > best_value):
                        best, best_value, best_is_small = i, overlap[i, j], False
                    elif kinds[i] == 1 and best is None:
                        best, best_is_small = i, True
            if best is not None:
                taken[best] = True
                if not ignored and kinds[best] == 0:
                    hits.append(found.score[best])
        wrong = 0
        for i in range(len(found)):
            excused = False
            for j in range(len(there)):
                if there.types[j] == "dontcare" and metric == "2d":
                    a, b = found.image[i], there.image[j]
                    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
                    area = max(width, 0) * max(height, 0)
                    excused |= area / ((a[2] - a[0]) * (a[3] - a[1])) > least
            counts = threshold is None or found.score[i] >= threshold
            wrong += kinds[i] == 0 and not taken[i] and counts and not excused
        return hits, wrong, labels_to_find

    first = [match(*pair, None) for pair in zip(detections, labels, strict=True)]
    thresholds = recall_thresholds(np.concatenate([each[0] for each in first]), sum(each[2] for each in first))
    precision = np.zeros(41)
    for step, threshold in enumerate(thresholds):
        each = [match(*pair, threshold) for pair in zip(detections, labels, strict=True)]
        right, wrong = sum(len(hits) for hits, _, _ in each), sum(wrong for _, wrong, _ in each)
        precision[step] = right / max(right + wrong, 1)
    return [precision[step:].max() for step in range(41)]


@pytest.mark.parametrize(
    ("metric", "difficulty"), [("2d", "easy"), ("2d", "hard"), ("bev", "moderate"), ("3d", "hard")]
)
def test_agrees_with_loops(tmp_path, metric, difficulty):
    generator = np.random.default_rng(1)
    names = ["Car", "Car", "Car", "Van", "Pedestrian", "DontCare"]
    pictures = []
    for _ in range(25):
        places = generator.uniform(0, 12, 8)
        labels = [
            line(generator.choice(names), x, None, generator.uniform(20, 60), generator.uniform(0, 0.6), o, 0.05 * o)
            for x, o in zip(places, generator.integers(0, 3, 8), strict=True)
        ]
        results = [
            line(generator.choice(names[:5]), x, round(generator.uniform(0, 1), 1), generator.uniform(20, 60))
            for x in np.concatenate([places, places[:5]]) + generator.normal(0, 0.3, 13)
        ]
        pictures.append((labels, results))
    labels, results = folders(tmp_path, *pictures)
    there = [read_kitti_objects(path) for path in sorted(labels.iterdir())]
    found = [read_kitti_objects(path, scored=True) for path in sorted(results.iterdir())]
    fast = precision_curve(found, there, "car", metric, difficulty)
    assert fast == pytest.approx(loops(found, there, "car", metric, difficulty))
    assert 0 < average_precision(fast, 40) < 1


def test_mistakes_are_one_sentence(tmp_path):
    labels, results = folders(tmp_path, ([line()], [line(score=0.9)]))
    (results / "000001.txt").write_text("")
    with pytest.raises(InputError, match=r"000001\.txt cannot be read"):
        evaluate_kitti(labels, results)
    (results / "000001.txt").unlink()
    (results / "000000.txt").write_text(line())
    with pytest.raises(InputError, match=r"000000\.txt, line 1: .*15 fields.*the last the score"):
        evaluate_kitti(labels, results)
    (results / "000000.txt").write_text(line(score="much"))
    with pytest.raises(InputError, match="much"):
        evaluate_kitti(labels, results)
    with pytest.raises(InputError, match="no result files"):
        evaluate_kitti(labels, tmp_path / "none")


def test_real_labels_find_themselves(test_data, tmp_path):
    labels = test_data / "points/scenes/kitti_object/training/label_2"
    for path in labels.glob("*.txt"):
        (tmp_path / path.name).write_text("".join(f"{each} 0.9\n" for each in path.read_text().splitlines() if each))
    objects = [read_kitti_objects(path) for path in sorted(labels.glob("*.txt"))]
    own = [pairwise_overlap(each, each, "3d") for each in objects]
    assert all(np.allclose(overlap.diagonal(), 1) for overlap in own)
    figures = evaluate_kitti(labels, tmp_path).figures
    assert all(figures[f"car_{metric}_easy_r11"] == pytest.approx(1) for metric in ("bev", "3d"))
