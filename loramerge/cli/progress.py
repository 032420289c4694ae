"""How a command shows where it stands: bars on a terminal, lines elsewhere, nothing beside JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loramerge.cli import console
from loramerge.progress import ProgressLines, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from loramerge.progress import Progress

_DRAWS_ITSELF = ("load",)  # huggingface_hub has bars of its own, by file and byte


@contextmanager
def shown(name: str, *, as_json: bool) -> Iterator[Progress]:
    """Show progress while the block runs.

    Args:
        name: The recipe's.
        as_json: Show nothing.
    """
    if as_json:
        yield Silent()
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield Bars(name, bars)
    else:
        yield ProgressLines(name, console.note)


class Bars:
    """A bar for the current task; it vanishes with it."""

    def __init__(self, name: str, bars: RichProgress) -> None:
        self._name = name
        self._bars = bars
        self._task: TaskID | None = None

    def start(self, task: str, total: int) -> None:
        """Replace the bar, or make room for those of others."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        if task in _DRAWS_ITSELF:
            self._bars.stop()
            console.note(f"{self._name}: {task} …")
        elif total:
            self._bars.start()
            self._task = self._bars.add_task(console.clean(f"{self._name}: {task}"), total=total)

    def advance(self, steps: int = 1) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.advance(self._task, steps)


def _bars() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
