"""From the arguments of a command to a configuration."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any, NoReturn, TypeVar, get_type_hints

from zoo.errors import InputError

Config = TypeVar("Config")
KINDS = {  # of values, as a user writes them
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list, such as '[a, b]'",
    "tuple": "a list of numbers, such as '[0.5, 0.5, 0.5]'",
    "dict": "keys with values, such as '{num_frames: 8}'",
    "str": "a text",
    "NoneType": "null",
}


def parse_config(kind: type[Config], arguments: Sequence[str] | None = None, description: str | None = None) -> Config:
    """The configuration that command-line arguments describe: `--config FILE.yaml` and keys such as `--optim.lr 0.01`.

    Args:
        kind: a dataclass, such as `TrainConfig`.
        arguments: by default those of the process; `--print-config` and `--batch-size` do as well as with underscores.
        description: for `--help`.

    Raises:
        InputError: an argument is wrong; the text names it, and the nearest key where there is none of that name. Or
            jsonargparse is missing.
    """
    try:
        from jsonargparse import ArgumentParser
    except ImportError as error:
        raise InputError("configurations need jsonargparse: `pip install jsonargparse`") from error

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            known = [action.dest for action in self._actions if action.dest != "print_shtab"]
            keys = [key for key in known if not any(other.startswith(f"{key}.") for other in known)]
            said = _sentence(" ".join(message.split()))
            unknown = re.search(r"(?:unrecognized arguments: --|there is no key )([\w.]*\w)", said)
            near = difflib.get_close_matches(unknown.group(1), keys, 3, 0.5) if unknown else []
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise InputError(f"{said}{hint} (--help explains every key)")

    given = sys.argv[1:] if arguments is None else arguments
    written = [_with_underscores(argument) if argument.startswith("--") else argument for argument in given]
    parser = Parser(description=description, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="a YAML file with the keys below")
    parser.add_class_arguments(kind)
    values = parser.parse_args(written).as_dict()
    values.pop("config", None)
    return from_dict(kind, values)


def _sentence(message: str) -> str:
    """What jsonargparse says of a value, without the words of its own."""
    key = re.match(r'Parser key "([\w.]+)": ', message)
    if missing := re.search(r"File does not exist: (.*)$", message):
        return f"there is no file {missing.group(1)}: check what follows --{key.group(1) if key else 'config'}"
    value = re.search(r"(?:Got|Given) value: (.*)$", message)
    kinds = re.findall(r"Expected a (?:<class '(\w+)'>|typing\.Literal\[(.*?)\]|(tuple) with)", message)
    if not key or not value or not kinds:
        message = message.replace(' in "<unicode string>",', "")
        message = re.sub(r"Option '([\w.]+)' is not accepted", r"there is no key \1", message)
        return re.sub(r"Group '([\w.]+)' does not accept option '([\w.]+)'", r"there is no key \1.\2", message)
    wanted = [f"one of {values}" if values else KINDS.get(name or pair, name) for name, values, pair in kinds]
    return f"{key.group(1)} is {value.group(1)}: give {' or '.join(wanted)}"


def _with_underscores(argument: str) -> str:
    """``--batch-size=4`` as ``--batch_size=4``."""
    key, equals, value = argument[2:].partition("=")
    return f"--{key.replace('-', '_')}{equals}{value}"


def from_dict(kind: type[Config], values: dict[str, Any]) -> Config:
    """The configuration whose keys and values ``dataclasses.asdict`` gave."""
    parts: dict[str, Any] = {name: hint for name, hint in get_type_hints(kind).items() if is_dataclass(hint)}
    return kind(**{key: from_dict(parts[key], value) if key in parts else value for key, value in values.items()})
