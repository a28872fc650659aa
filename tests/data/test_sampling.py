import pytest
import torch

from zoo.data.sampling import (
    dense_clips,
    dense_indices,
    eval_clips,
    random_indices,
    train_clip,
    twice_clips,
    uniform_indices,
)


def test_uniform_sampling_takes_the_middle_of_every_segment():
    assert uniform_indices(80, 8) == [5, 15, 25, 35, 45, 55, 65, 75]
    assert uniform_indices(10, 8) == [0, 1, 3, 4, 5, 6, 8, 9]


def test_uniform_sampling_repeats_the_frames_of_a_short_video():
    assert uniform_indices(3, 8) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert uniform_indices(1, 4) == [0, 0, 0, 0]


def test_random_sampling_takes_one_frame_of_every_segment():
    generator = torch.Generator().manual_seed(0)
    draws = [random_indices(83, 8, generator) for _ in range(300)]
    for draw in draws:
        assert [index // 10 for index in draw] == list(range(8))
    assert {draw[0] for draw in draws} == set(range(10))


def test_random_sampling_of_a_short_video_repeats_its_first_frame():
    assert random_indices(3, 8) == [0] * 8


def test_random_sampling_repeats_with_the_same_generator():
    draws = [random_indices(300, 8, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert draws[0] == draws[1]


@pytest.mark.parametrize("sample", [uniform_indices, random_indices])
@pytest.mark.parametrize("numbers", [(0, 8), (-1, 8), (8, 0), (8, -2)])
def test_numbers_that_are_not_positive_are_refused(sample, numbers):
    with pytest.raises(ValueError, match=str(numbers[0])):
        sample(*numbers)


def test_dense_clips_spread_windows_of_64_frames_over_the_video():
    clips = dense_clips(100, 8)  # places 0 to 36, ten of them at 0, 4, 8 ... 36
    assert len(clips) == 10
    assert clips[0] == [0, 8, 16, 24, 32, 40, 48, 56]
    assert clips[1] == [4, 12, 20, 28, 36, 44, 52, 60]
    assert clips[9] == [36, 44, 52, 60, 68, 76, 84, 92]
    # 36 / 4 = 9, a place at 0, 9, 18, 27, 36; 37 / 4 = 9.25, cut to 0, 9, 18, 27, 37
    assert [clip[0] for clip in dense_clips(100, 8, 5)] == [0, 9, 18, 27, 36]
    assert [clip[0] for clip in dense_clips(101, 8, 5)] == [0, 9, 18, 27, 37]


def test_one_dense_clip_for_evaluation_is_in_the_middle():
    assert dense_clips(100, 16, 1) == [[18 + 4 * frame for frame in range(16)]]


def test_dense_clips_of_a_short_video_start_again_from_its_first_frame():
    assert dense_clips(20, 8, 10) == [[0, 8, 16, 4, 12, 0, 8, 16]] * 10
    assert dense_indices(20, 8) == [0, 8, 16, 4, 12, 0, 8, 16]
    assert dense_clips(64, 4, 2) == [[0, 16, 32, 48]] * 2


def test_dense_training_clips_begin_anywhere_but_at_the_last_place():
    generator = torch.Generator().manual_seed(0)
    clips = [dense_indices(70, 8, generator) for _ in range(200)]
    assert {clip[0] for clip in clips} == {0, 1, 2, 3, 4, 5}
    assert all([index - clip[0] for index in clip] == [0, 8, 16, 24, 32, 40, 48, 56] for clip in clips)
    assert {dense_indices(65, 8, generator)[0] for _ in range(20)} == {0}


def test_twice_sampling_takes_the_middles_and_the_beginnings_of_the_segments():
    assert twice_clips(80, 8) == [[5, 15, 25, 35, 45, 55, 65, 75], [0, 10, 20, 30, 40, 50, 60, 70]]
    assert twice_clips(30, 8) == [[1, 5, 9, 13, 16, 20, 24, 28], [0, 3, 7, 11, 15, 18, 22, 26]]
    assert twice_clips(3, 8) == [[0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2]]


def test_the_clips_of_an_evaluation():
    assert eval_clips(80, 8, "uniform") == eval_clips(80, 8, "twice") == [uniform_indices(80, 8)]
    assert eval_clips(80, 8, "twice", 2) == twice_clips(80, 8)
    assert eval_clips(300, 8, "dense", 10) == dense_clips(300, 8, 10)


def test_training_samples_segments_unless_it_is_dense():
    for sampling in ("uniform", "twice"):
        assert [index // 10 for index in train_clip(80, 8, sampling)] == list(range(8))
    clip = train_clip(300, 8, "dense")
    assert clip[-1] - clip[0] == 56


@pytest.mark.parametrize(
    ("sampling", "num_frames", "num_clips"),
    [("uniform", 8, 2), ("twice", 8, 3), ("dense", 8, 0), ("dense", 65, 1), ("uniform", 0, 1), ("sparse", 8, 1)],
)
def test_clips_that_a_sampling_does_not_give_are_refused(sampling, num_frames, num_clips):
    with pytest.raises(ValueError, match="sampling"):
        eval_clips(80, num_frames, sampling, num_clips)
