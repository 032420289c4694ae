"""A recipe in another process: what it says is kept for the first one."""

from __future__ import annotations

import io
import signal
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

from loramerge.cli.run_one import Facts, run_one

if TYPE_CHECKING:
    from types import FrameType

    from loramerge.cli.planning import PlannedRecipe
    from loramerge.cli.run_one import RunSettings

Said = Sequence[tuple[str, str]]
"""`out` or `err`, and a text, in the order in which it was said."""

_busy = False


def begin() -> None:
    """Prepare the process; ^C ends what it does, and not the process."""
    from loramerge.cli import _prepare

    _prepare([])
    signal.signal(signal.SIGINT, _interrupted)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    if _busy:
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


def run_recorded(each: PlannedRecipe, settings: RunSettings, planning: Mapping[str, Any]) -> tuple[Facts, Said]:
    """What became of a recipe, and what was said of it; see `run_one`."""
    global _busy  # noqa: PLW0603  of this process, which has one recipe at a time
    said: list[tuple[str, str]] = []
    with redirect_stdout(_Recorder("out", said)), redirect_stderr(_Recorder("err", said)):
        _busy = True
        try:
            return run_one(each, settings, planning), said
        finally:
            _busy = False
