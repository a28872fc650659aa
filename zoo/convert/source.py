"""What a project's checkpoints look like, and how they become ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Source:
    """One layout of checkpoints.

    Attributes:
        name: what a :class:`~zoo.convert.Checkpoint` calls it.
        description: for people, such as "authors' TSM layout".
        example: the beginning of names that give it away.
        matches: whether a file with these tensors has this layout.
        convert: the same tensors under our names.
        shift: the direction in which its networks shift, where that is known: no name of a tensor tells.
    """

    name: str
    description: str
    example: str
    matches: Callable[[State], bool]
    convert: Callable[[State], State]
    shift: Literal["bidirectional", "online"] | None = None
