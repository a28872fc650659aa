"""What goes wrong by a user's mistake: each error says in one sentence what to do about it."""

MAX_TEXT = 8000  # characters


class ZooError(ValueError):
    """The base of the zoo's own errors; the command line prints its text and exits with 2.

    A text may quote a stranger's file or server: what would steer a terminal is written as an escape, and the middle
    of an endless one is left out.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) > MAX_TEXT:
            text = f"{text[: MAX_TEXT // 2]} ... {text[-MAX_TEXT // 2 :]}"
        return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class InputError(ZooError):
    """A file or an array that cannot be read or does not fit the model; the text names it and the remedy."""


class CheckpointError(ZooError):
    """A checkpoint that is damaged, unsafe or of another network."""


class UnknownNameError(ZooError, LookupError):
    """A name that nothing bears; the text lists the nearest ones."""


class OperatorsError(ZooError, RuntimeError):
    """The operators that ``ZOO_OPS`` asks for are not there."""


class SourceError(ZooError):
    """Weights that cannot be had from where they lie; the text lists what was tried."""
