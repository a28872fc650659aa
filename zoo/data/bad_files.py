"""Files that cannot be decoded: raised, skipped or replaced; counted, listed, and too many of them end a run.

A bad file is met in a worker process and must be told to the main process. So a guarded sample travels with a record
of what went wrong, ``collate_guarded`` puts the records beside the batch, and ``BadFiles`` takes them up::

    dataset = GuardedDataset(dataset, "resample", dataset.path_of)
    bad_files = BadFiles("out/run/bad_files.txt", num_files=len(dataset))
    for batch, records in DataLoader(dataset, 16, collate_fn=collate_guarded):
        bad_files.add(records)
        if batch is not None:
            inputs, targets = batch
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch.utils.data import Dataset, default_collate

from zoo.data.child_process import ChildProcess
from zoo.errors import InputError

Policy = Literal["raise", "skip", "resample"]

_MOST_DRAWS = 10  # bad files one after another, before a sample is given up


class BadFile(NamedTuple):
    """A file that could not be decoded.

    Attributes:
        path: of the file, as ``path_of`` gives it.
        reason: a sentence.
    """

    path: str
    reason: str


class GuardedSample(NamedTuple):
    """A sample and what went wrong on the way to it.

    Attributes:
        sample: what the data set gave, or None for a file that is skipped.
        bad: the files that could not be decoded.
    """

    sample: Any
    bad: tuple[BadFile, ...]


class GuardedDataset(Dataset[GuardedSample]):
    """A data set, of videos or points, whose bad files do not end the run at once.

    It stands around all that reads and transforms, and inside what seeds a sample: "resample" draws another index with
    torch's own generator. An evaluation takes "raise" or "skip", as with "resample" other samples count twice.

    Args:
        dataset: a map-style data set; a bad file is an InputError or an OSError from it.
        policy: "raise" lets the error through, "skip" gives no sample, "resample" another one in its place.
        path_of: from an index to the path of its file.
        timeout_s: seconds that reading a sample may take; then it is ended and the file is bad, as is one at which
            the process of the decoder dies. Reading then happens in a child process (POSIX only) and every sample
            is copied once more; by default there is neither.

    Raises:
        ValueError: the policy is unknown or ``timeout_s`` is not positive.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        policy: Policy,
        path_of: Callable[[int], str] = str,
        timeout_s: float | None = None,
    ):
        if policy not in ("raise", "skip", "resample"):
            raise ValueError(f"the policy for bad files is 'raise', 'skip' or 'resample', not {policy!r}")
        if timeout_s is not None and timeout_s <= 0:
            raise ValueError(f"timeout_s is a number of seconds above 0, not {timeout_s}")
        self.dataset, self.policy, self.path_of = dataset, policy, path_of
        self._read = dataset.__getitem__ if timeout_s is None else ChildProcess(dataset, timeout_s)

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> GuardedSample:
        """The sample ``index``, or what the policy puts in its place.

        Raises:
            InputError: the file is bad and the policy is "raise", or ten files one after another are bad.
            OSError: as InputError.
        """
        bad: list[BadFile] = []
        while True:
            try:
                return GuardedSample(self._read(index), tuple(bad))
            except (InputError, OSError) as error:
                if self.policy == "raise":
                    raise
                bad.append(BadFile(self.path_of(index), " ".join(str(error).split())))
            if self.policy == "skip":
                return GuardedSample(None, tuple(bad))
            if len(bad) == _MOST_DRAWS:
                raise InputError(
                    f"{bad[-1].path} and {len(bad) - 1} files drawn before it cannot be read: {bad[-1].reason}"
                )
            index = int(torch.randint(len(self), ()))


def collate_guarded(
    items: Sequence[GuardedSample], collate: Callable[[list[Any]], Any] = default_collate
) -> tuple[Any, list[BadFile]]:
    """The batch of the samples that are there, and the records of the bad files.

    Args:
        items: of a ``GuardedDataset``.
        collate: from samples to a batch.

    Returns:
        The batch, smaller by the skipped samples, or None where all were skipped; and the records.
    """
    samples = [item.sample for item in items if item.sample is not None]
    return (collate(samples) if samples else None), [bad for item in items for bad in item.bad]


class BadFiles:
    """The bad files of a run, in the main process; lists them in a file and ends a run that has too many.

    Of several processes that share a run each is told of the bad files of all, and one writes the list.

    Args:
        path: the list, a line with path and reason for each; a run that goes on goes on with its list. None lists none.
        num_files: files in the set.
        limit: the share of them that may be bad; with 0 and "skip" the first bad file ends the run with a sentence,
            where "raise" in a worker of a data loader ends it with the worker's traceback.
        writes: whether this process writes the list.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, num_files: int, limit: float = 0.01, writes: bool = True
    ) -> None:
        self.path = None if path is None else Path(path)
        self.num_files, self.limit, self.writes = num_files, limit, writes
        known = self.path.read_text(encoding="utf-8").splitlines() if self.path and self.path.is_file() else []
        self._paths = {line.split("\t")[0] for line in known}
        self._met: set[str] = set()  # by this process, not by one before it

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, records: Iterable[BadFile]) -> None:
        """Take up what ``collate_guarded`` gave beside a batch; a file counts once, however often it is met.

        Raises:
            InputError: more than the allowed share of the files is bad.
        """
        met = {bad.path: bad.reason for bad in records if bad.path not in self._met}
        if not met:
            return
        self._met |= set(met)
        new = {path: reason for path, reason in met.items() if path not in self._paths}
        if new and self.writes and self.path:
            with open(self.path, "a", encoding="utf-8") as file:
                file.writelines(f"{path}\t{reason}\n" for path, reason in new.items())
        self._paths |= set(new)
        path, reason = next(iter((new or met).items()))
        first = reason if path in reason else f"{path}: {reason}"
        if not self.limit:
            raise InputError(f"{first} (data.bad_files 'skip' or 'resample' would do without it)")
        if len(self) > self.limit * self.num_files:
            those = f"those that {self.path} lists" if self.path else "those named above"
            raise InputError(
                f"{len(self)} of {self.num_files} files cannot be read, more than {self.limit:.0%}: repair {those} or "
                f"take them away ({first})"
            )
