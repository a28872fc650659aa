"""From the options to what is measured."""

import pytest

import zoo
from zoo.bench.job import Job, input_shapes, make_inputs
from zoo.bench.plan import Options, jobs_of, model_names, preset_jobs, usable_runtimes
from zoo.bench.presets import PAPER
from zoo.bench.session import facts, groups
from zoo.errors import InputError, UnknownNameError
from zoo.info import describe_model
from zoo.processors import num_processors

EAGER = Options(["eager"], ["fp32"])


def test_every_combination_is_measured():
    options = Options(["plain", "eager"], ["fp32", "bf16"], batches=(1, 8), points=(1024, 2048), threads=(1, 2))
    jobs = jobs_of(["pvcnn_sem_c0p25"], options)
    assert len(jobs) == 2 * 2 * 2 * 3  # a plain model computes in float32 alone
    assert {job.points for job in jobs} == {1024, 2048}


def test_frames_are_for_clips_and_points_for_clouds():
    options = Options(["eager"], ["fp32"], frames=(8, 16), points=(1024,))
    jobs = jobs_of(["tsm_mobilenetv2", "tsm_mobilenetv2_online", "pvcnn_sem_c0p25"], options)
    assert [(job.frames, job.points) for job in jobs] == [(8, None), (16, None), (None, None), (None, 1024)]


def test_saturated_streams_share_the_processors():
    (job,) = jobs_of(["tsm_mobilenetv2"], Options(["eager"], ["fp32"], modes=("saturated",)))
    assert (job.threads, job.streams) == (1, num_processors())


def test_wildcards_and_all():
    assert "tsm_resnet50" in model_names(["tsm_*"], False) and "pvcnn_sem_c1" not in model_names(["tsm_*"], False)
    assert "tsm_resnet50.k400_8f" in model_names(["tsm_resnet50.*"], False)
    assert {"pointnet_cls", "tsm_mobilenetv2_online.fingertip"} <= set(model_names([], True))
    with pytest.raises(InputError, match="no model fits"):
        model_names(["yolo*"], False)


def test_unknown_names_are_refused_before_anything_runs():
    with pytest.raises(UnknownNameError, match="nearest names"):
        jobs_of(["tsm_resnet5"], EAGER)
    with pytest.raises(InputError, match="there is no runtime 'tensorflow': there are plain, auto, eager"):
        usable_runtimes(["tensorflow"])
    usable, (sentence,) = usable_runtimes(["eager", "tensorflow"])
    assert usable == ["eager"] and "there is no runtime 'tensorflow'" in sentence


def test_the_papers_settings():
    jobs = preset_jobs(PAPER, EAGER)
    sizes = {(job.model, job.batch, job.frames or job.points, job.mode) for job in jobs}
    assert {
        ("tsm_resnet50", 1, 8, "single"),
        ("tsm_resnet50", 1, 8, "saturated"),
        ("tsm_mobilenetv2_online", 1, None, "single"),
        ("pvcnn_part_c1", 8, 2048, "single"),
        ("pvcnn_sem_c1", 8, 4096, "single"),
        ("pvcnnpp_sem_c1", 4, 8192, "single"),
        ("frustum_pvcnne", 32, 1024, "single"),
    } <= sizes


def test_what_is_compared_runs_in_turn():
    jobs = jobs_of(["pvcnn_sem_c0p25", "pointnet_sem"], Options(["plain", "eager"], ["fp32"]))
    assert [len(group) for group in groups(jobs, together=False)] == [2, 2]
    assert [len(group) for group in groups(jobs, together=True)] == [4]


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("tsm_mobilenetv2", [(2, 8, 3, 224, 224)]),
        ("tsm_mobilenetv2_online", [(2, 3, 224, 224)]),
        ("pvcnn_part_c0p25", [(2, 6, 2048), (2,)]),
        ("frustum_pvcnne", [(2, 4, 1024), (2,)]),
    ],
)
def test_inputs_are_what_the_model_takes(name, shapes):
    model = zoo.create_model(name)
    assert input_shapes(model, Job(name, batch=2)) == shapes
    once, again = make_inputs(shapes), make_inputs(shapes)
    assert [tuple(tensor.shape) for tensor in once] == shapes
    assert all((one == other).all() for one, other in zip(once, again, strict=True))


def test_facts_are_those_that_info_tells():
    known, described = facts(Job("pvcnn_sem_c0p25")), describe_model("pvcnn_sem_c0p25")
    assert described["MACs"].startswith(f"{known.macs / 1e9:.3f} G") and known.input == "9 x 4096"
    step, clip = facts(Job("tsm_mobilenetv2_online")), facts(Job("tsm_mobilenetv2", frames=1))
    assert step.unit == "step" and step.macs == clip.macs and step.parameters == clip.parameters
