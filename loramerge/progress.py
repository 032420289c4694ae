"""How long work tells whoever is watching where it stands."""

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
