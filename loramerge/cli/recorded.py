"""Recipes in another process: what is said of them is kept for the first one.

^C ends what is being done, and never the process: one that comes before a recipe begins ends that. A second one, as
the first process passes on what the terminal gave to all, does not disturb what the first made to end.
"""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import TYPE_CHECKING

from loramerge.cli import console
from loramerge.cli.boundary import failure
from loramerge.cli.run_one import Facts, failed_with, run_one
from loramerge.files.interrupts import at_once, note, noted

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import FrameType

    from loramerge.cli.planning import PlannedRecipe
    from loramerge.cli.run_one import RunSettings

Said = Sequence[tuple[str, str]]
"""`out` or `err`, and a text, in the order in which it was said."""
Told = tuple[Facts, Said]
"""What became of a recipe, and what was said of it."""

_busy = False


def work(connection: Connection, settings: RunSettings) -> None:
    """Run recipe after recipe, until the first process closes the connection or is gone.

    Args:
        connection: Gives recipes, and takes what `run_recorded` returns.
        settings: The command's options.
    """
    _load()
    signal.signal(signal.SIGINT, _interrupt)
    at_once(signal.SIGINT)  # only now: a library that is interrupted while it is loaded is never whole
    with suppress(EOFError, OSError):
        while True:
            connection.send(run_recorded(connection.recv(), settings))


def run_recorded(each: PlannedRecipe, settings: RunSettings) -> Told:
    """What became of a recipe, and what was said of it; see `run_one`."""
    global _busy  # noqa: PLW0603  of this process, which has one recipe at a time
    if noted():
        return failed_recorded(each, KeyboardInterrupt(), settings)
    try:
        _busy = True
        return _recorded(lambda: run_one(each, settings))
    except KeyboardInterrupt as error:  # before it had begun, or when it was done
        return failed_recorded(each, error, settings)
    finally:
        _busy = False


def run_elsewhere(each: PlannedRecipe, settings: RunSettings) -> Told:
    """The same on another machine, whose process does other things besides and takes ^C as it comes."""
    _load()
    return _recorded(lambda: run_one(each, settings))


def failed_recorded(each: PlannedRecipe, error: BaseException, settings: RunSettings) -> Told:
    """The same of a recipe that an error keeps from being run."""
    found = failure(error, verbose=settings.verbose)
    return _recorded(lambda: failed_with(each, found, settings))


def with_warning(told: Told, message: str, settings: RunSettings) -> Told:
    """The same, and a warning before it."""
    facts, said = told
    if settings.as_json:
        return facts | {"warnings": [message, *facts.get("warnings", ())]}, said

    def tell() -> Facts:
        console.warning(f"{facts['name']}: {message}")
        return facts

    _, before = _recorded(tell)
    return facts, (*before, *said)


def _recorded(tell: Callable[[], Facts]) -> Told:
    said: list[tuple[str, str]] = []
    with redirect_stdout(_Recorder("out", said)), redirect_stderr(_Recorder("err", said)):
        return tell(), said


def _load() -> None:
    from importlib import import_module

    from loramerge.cli import _prepare

    _prepare([])
    for name in ("torch", "numpy", "loramerge.stages.run"):
        import_module(name)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if note() and _busy:
        raise KeyboardInterrupt


class _Recorder(io.TextIOBase):
    """A stream whose texts are kept."""

    def __init__(self, stream: str, said: list[tuple[str, str]]) -> None:
        self._stream, self._said = stream, said

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._said.append((self._stream, text))
        return len(text)
