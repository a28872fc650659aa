"""Pictures of the figures: which are drawn, and which points are on the Pareto front."""

import pytest

from tests.bench.bench_records import record, report
from zoo.bench.accuracy import Point, fits, pareto_front, points_of
from zoo.bench.plots import write_plots
from zoo.registry import find_weights
from zoo.weights import Metric

pytest.importorskip("matplotlib")


def point(ms, accuracy):
    return Point(f"at {ms}", record(p50_ms=ms), Metric("accuracy", accuracy, "set", "", ""))


def test_pareto_front_leaves_out_what_is_slower_and_no_better():
    points = [point(5, 0.7), point(9, 0.9), point(7, 0.6), point(20, 0.9), point(5, 0.8)]
    assert [(each.record.p50_ms, each.metric.value) for each in pareto_front(points)] == [(5, 0.8), (9, 0.9)]


def test_records_of_an_architecture_hold_for_weights_with_the_same_input():
    own = record(model="pvcnn_sem_c1", input="9 x 4096")
    assert fits(own, find_weights("pvcnn_sem_c1.s3dis_area5"))
    assert not fits(record(model="pvcnn_sem_c1", input="9 x 2048"), find_weights("pvcnn_sem_c1.s3dis_area5"))
    assert not fits(own, find_weights("pvcnn_sem_c0p25.s3dis_area5"))
    clip = record(model="tsm_resnet50", unit="clip", input="8 x 3 x 224 x 224")
    assert [each.name for each in points_of([clip])] == [
        f"tsm_resnet50.{tag}" for tag in ("k400_8f", "k400_8f_dense", "ssv1_8f", "ssv2_8f")
    ]


def test_accuracy_is_that_of_the_input_and_the_precision_that_it_was_measured_with():
    own = {"model": "pvcnn_cls_c0p25.radhar", "input": "6 x 1024"}
    assert [each.name for each in points_of([record(**own)])] == ["pvcnn_cls_c0p25.radhar"]
    assert not points_of([record(**{**own, "input": "6 x 256"}), record(**own, precision="int8")])


def test_a_picture_for_every_kind_of_figure(tmp_path):
    measured = report(
        record(model="pvcnn_sem_c1", p50_ms=100.0),
        record(model="pvcnn_sem_c0p25", p50_ms=20.0),
        record(model="pvcnn_sem_c0p25", p50_ms=60.0, batch=4),
        record(model="pvcnn_sem_c0p25", p50_ms=12.0, input="9 x 2048", points=2048),
        record(model="tsm_resnet50", unit="clip", input="8 x 3 x 224 x 224"),
        record(model="tsm_resnet50", unit="clip", input="16 x 3 x 224 x 224", frames=16),
    )
    names = {path.stem for path in write_plots(measured, tmp_path / "new")}
    assert {"accuracy_mean_iou_on_s3dis_area_5", "latency_batch", "latency_points", "latency_frames", "stages"} <= names
    assert all((tmp_path / "new" / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in names)
    lone = {path.stem for path in write_plots(report(record(decode_ms=None, model_ms=None)), tmp_path)}
    assert "latency_batch" not in lone and "stages" not in lone
