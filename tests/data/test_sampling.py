import pytest
import torch

from zoo.data.sampling import random_indices, uniform_indices


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
