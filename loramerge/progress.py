"""How long work tells whoever is watching where it stands."""

import sys
from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """A watcher. All calls come from one thread."""

    def start(self, task: str, total: int) -> None:
        """A task of `total` steps begins; the one before it is done."""

    def advance(self, steps: int = 1) -> None:
        """Steps of the current task are done."""


class Silent:
    """Nobody watches."""

    def start(self, task: str, total: int) -> None:
        """Do nothing."""

    def advance(self, steps: int = 1) -> None:
        """Do nothing."""


def _on_standard_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201  whoever takes it asked for it


class ProgressLines:
    """A line for each task: `run(recipe, progress=ProgressLines())`.

    Args:
        name: What the lines begin with, such as the recipe's name; nothing by default.
        say: Takes each line; by default it goes to standard error. A logger's `info` will do.
    """

    def __init__(self, name: str = "", say: Callable[[str], object] = _on_standard_error) -> None:
        self._head = f"{name}: " if name else ""
        self._say = say

    def start(self, task: str, total: int) -> None:
        """Name the task, if there is anything to do."""
        if total:
            self._say(f"{self._head}{task} …")

    def advance(self, steps: int = 1) -> None:
        """Say nothing."""
