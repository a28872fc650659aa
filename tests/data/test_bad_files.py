import os
import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from zoo.data.bad_files import BadFile, BadFiles, GuardedDataset, collate_guarded
from zoo.errors import InputError


class Clouds(Dataset):
    """Points that hold their number; those in ``bad`` cannot be read, that in ``hangs`` never ends."""

    def __init__(self, size=8, bad=(), hangs=None, dies=None):
        self.size, self.bad, self.hangs, self.dies = size, bad, hangs, dies

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index in self.bad:
            raise InputError(f"{index}.ply is damaged;\ncopy it again")
        if index == self.hangs:
            threading.Event().wait()
        if index == self.dies:
            os._exit(3)
        return torch.full((4, 3), float(index)), torch.tensor(index)

    def path_of(self, index):
        return f"{index}.ply"


def guarded(dataset, policy, **options):
    return GuardedDataset(dataset, policy, dataset.path_of, **options)


def test_raise_lets_the_error_through():
    dataset = guarded(Clouds(bad={2}), "raise")
    assert dataset[1].sample[1] == 1
    with pytest.raises(InputError, match=r"2\.ply"):
        dataset[2]


@pytest.mark.parametrize("workers", [0, 1])
def test_skip_makes_batches_smaller_and_tells_the_main_process(workers):
    dataset = guarded(Clouds(bad={1, 4, 5}), "skip")
    loader = DataLoader(dataset, 2, num_workers=workers, collate_fn=collate_guarded)
    batches, records = zip(*loader, strict=True)
    assert [None if batch is None else batch[1].tolist() for batch in batches] == [[0], [2, 3], None, [6, 7]]
    assert batches[0][0].shape == (1, 4, 3)
    reason = "is damaged; copy it again"
    assert [bad for some in records for bad in some] == [BadFile(f"{n}.ply", f"{n}.ply {reason}") for n in (1, 4, 5)]


def test_resample_takes_other_samples_from_torchs_generator():
    dataset = guarded(Clouds(bad={1, 4}), "resample")
    draws = []
    for seed in (3, 3, *range(20)):
        torch.manual_seed(seed)
        draws.append(dataset[1])
        assert draws[-1].bad[0].path == "1.ply"
    assert torch.equal(draws[0].sample[0], draws[1].sample[0]) and draws[0].bad == draws[1].bad
    numbers = {int(draw.sample[1]) for draw in draws}
    assert len(numbers) > 2 and not numbers & {1, 4}
    assert dataset[0].bad == ()


def test_resampling_gives_up_where_everything_is_bad():
    with pytest.raises(InputError, match=r"9 files drawn before it cannot be read.*damaged"):
        guarded(Clouds(bad=range(8)), "resample")[0]


def test_a_mistake_in_the_code_is_no_bad_file():
    with pytest.raises(TypeError):
        guarded(Clouds(bad=None), "skip")[0]


def test_bad_files_are_listed_once_and_a_run_that_goes_on_keeps_its_list(tmp_path):
    path = tmp_path / "bad_files.txt"
    bad_files = BadFiles(path, num_files=200)
    bad_files.add([])
    assert not path.exists()
    bad_files.add([BadFile("a.mp4", "is empty"), BadFile("a.mp4", "is empty")])
    bad_files.add([BadFile("a.mp4", "is empty"), BadFile("b.mp4", "is damaged")])
    assert path.read_text() == "a.mp4\tis empty\nb.mp4\tis damaged\n"
    again = BadFiles(path, num_files=200)
    assert len(again) == 2
    with pytest.raises(InputError, match=r"3 of 200 files .* more than 1%: .*bad_files\.txt .*c\.mp4: is damaged"):
        again.add([BadFile("a.mp4", "is empty"), BadFile("c.mp4", "is damaged")])


def test_a_reader_that_blocks_is_ended():
    dataset = guarded(Clouds(hangs=1), "skip", timeout_s=0.3)
    assert dataset[0].sample[1] == 0
    (bad,) = dataset[1].bad
    assert bad.path == "1.ply" and "longer than 0.3 s" in bad.reason


def test_workers_go_on_after_readers_that_block_die_or_refuse():
    dataset = guarded(Clouds(size=6, hangs=1, dies=3, bad={4}), "skip", timeout_s=0.5)
    loader = DataLoader(dataset, 3, num_workers=1, collate_fn=collate_guarded)
    batches, records = zip(*loader, strict=True)
    assert [batch[1].tolist() for batch in batches] == [[0, 2], [5]]
    assert [bad.path for some in records for bad in some] == ["1.ply", "3.ply", "4.ply"]
    assert "died" in records[1][0].reason and "damaged" in records[1][1].reason


class Noise(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return torch.rand(2)


def test_a_child_draws_what_would_be_drawn_here():
    torch.manual_seed(0)
    expected = [torch.rand(2) for _ in range(3)]
    torch.manual_seed(0)
    dataset = GuardedDataset(Noise(), "raise", timeout_s=60)
    assert all(torch.equal(dataset[index].sample, expected[index]) for index in range(3))


@pytest.mark.parametrize(("policy", "options"), [("ignore", {}), ("skip", {"timeout_s": 0})])
def test_other_policies_and_limits_are_refused(policy, options):
    with pytest.raises(ValueError, match="is "):
        GuardedDataset(Clouds(), policy, **options)
