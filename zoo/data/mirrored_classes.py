"""What a class becomes in the mirror: left and right exchange, and so do the two ways to turn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from zoo.data.class_names import ClassIndex
from zoo.errors import InputError

_AGAINST = ("counterclockwise", "counter clockwise", "anticlockwise", "anti clockwise")
_PAIRS = (("left", "right"), *(("clockwise", word) for word in _AGAINST))


def mirrored_classes(
    class_names: Sequence[str], exceptions: Mapping[str, str | None] | None = None
) -> tuple[int | None, ...]:
    """For every class the one that its mirror image shows, or None where a mirror image shows no class.

    "Swiping Left" becomes "Swiping Right" and "Turning Hand Clockwise" "Turning Hand Counterclockwise". A class with
    such a word and without its partner has no mirror image, and every other class is its own; "upright" is another
    word. The rule gives the maps of Jester and Something-Something as they are.

    Args:
        class_names: in the order of the labels.
        exceptions: what names do not tell, ``{"drive on the left lane": None, "hook": "hook"}``; an exchange may
            be said from one side.

    Raises:
        InputError: an exception names no class, or the mirror image of a mirror image is another class.
    """
    classes = ClassIndex(class_names)
    mirror: list[int | None] = [_partner(name, classes) for name in classes.names]
    for name, other in (exceptions or {}).items():
        number = classes.number(name, "exceptions from mirroring")
        mirror[number] = None if other is None else classes.number(other, "exceptions from mirroring")
        partner = mirror[number]
        if partner is not None and other not in (exceptions or {}):
            mirror[partner] = number
    for number, partner in enumerate(mirror):
        if partner is not None and mirror[partner] != number:
            raise InputError(
                f"the class {class_names[number]!r} becomes {class_names[partner]!r} in the mirror, but not the other "
                "way round; name both in the exceptions"
            )
    return tuple(mirror)


def _partner(name: str, classes: ClassIndex) -> int | None:
    own = classes.names.index(name)
    has_side = False
    for pair in _PAIRS:
        exchanged = _exchange(name, *pair)
        if exchanged != name:
            has_side = True
            if exchanged in classes:
                return classes.number(exchanged, name)
    return None if has_side else own


def _exchange(name: str, one: str, other: str) -> str:
    """``name`` with two words exchanged, each in the other's case; "_" and the humps of CamelCase end words too."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "\0", name)
    pattern = "|".join(word.replace(" ", r"[\s_\0-]?") for word in sorted((one, other), key=len, reverse=True))

    def swap(match: re.Match[str]) -> str:
        found = match[0]
        word = other if found.casefold() == one else one
        if found.isupper():
            return word.upper()
        return word.title() if found[0].isupper() else word

    return re.sub(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", swap, spaced, flags=re.IGNORECASE).replace("\0", "")
