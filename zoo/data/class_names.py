"""The class names of public sets, in their official order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from zoo.errors import InputError

_FOLDER = Path(__file__).parent / "classes"
_FILES = {
    "kinetics400": "kinetics400",
    "kinetics600": "kinetics600",
    "kinetics700": "kinetics700",
    "something-something-v1": "something-something",  # one set of templates in one order, twice filmed
    "something-something-v2": "something-something",
    "jester": "jester",
    "ucf101": "ucf101",
    "hmdb51": "hmdb51",
    "modelnet40": "modelnet40",
}
DATASETS = tuple(_FILES)


def class_names(dataset: str) -> tuple[str, ...]:
    """The class names of a public set in its official order: Jester's is that of ``jester-v1-labels.csv``.

    A checkpoint may know them in another: TSM's published Jester network was trained on the sorted names.

    Args:
        dataset: one of ``DATASETS``.

    Raises:
        ValueError: ``dataset`` is another name.
    """
    if dataset not in _FILES:
        raise ValueError(f"class names are known of {', '.join(DATASETS)}, not of {dataset!r}")
    return tuple((_FOLDER / f"{_FILES[dataset]}.txt").read_text(encoding="utf-8").splitlines())


class ClassIndex:
    """Finds the number of a class by its name, whichever way the name is written.

    Files of one set differ in case, underscores for spaces, and quotes or brackets left out ("hurling_sport").

    Args:
        names: in the order of the numbers.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._exact = {name: number for number, name in enumerate(self.names)}
        self._loose = {_loosely(name): number for number, name in enumerate(self.names)}
        if len(self._exact) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise InputError(f"the class {twice!r} is named twice; name every class once")

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def number(self, name: str, where: str) -> int:
        """The number of the class ``name``.

        Raises:
            InputError: there is no such class; the text begins with ``where``, a file and a line.
        """
        number = self._find(name)
        if number is None:
            raise InputError(
                f"{where}: {name!r} is none of the {len(self.names)} classes ({', '.join(self.names[:3])}, ...); "
                "correct the label, or pass the class names that the file uses"
            )
        return number

    def _find(self, name: str) -> int | None:
        return self._exact.get(name, self._loose.get(_loosely(name)))


def _loosely(name: str) -> str:
    return re.sub(r"[\W_]+", " ", re.sub(r"['\"\[\]()]", "", name)).strip().casefold()
