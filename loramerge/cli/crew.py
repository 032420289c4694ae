"""Who runs recipes apart from this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from loramerge.cli.planning import PlannedRecipe
    from loramerge.cli.recorded import Told


class Crew(Protocol):
    """Takes recipes by their places, and gives back what became of them."""

    @property
    def memory(self) -> int | None:
        """Bytes that recipes may take together; None where somebody else sees to that."""

    @property
    def free(self) -> bool:
        """Whether it takes another recipe."""

    @property
    def busy(self) -> bool:
        """Whether it has one."""

    def give(self, place: int, each: PlannedRecipe) -> None:
        """Let somebody run a recipe."""

    def wait(self) -> None:
        """Wait until `take` has something to give; ^C may end it."""

    def take(self) -> Sequence[tuple[int, Told | Exception | None]]:
        """What became of recipes, why nothing did, or None where nobody has begun one."""

    def recall(self) -> None:
        """Take back what nobody has begun; `take` says which recipes these are."""

    def interrupt(self) -> None:
        """Pass ^C on to all that are at work."""

    def end(self) -> None:
        """Let all of them go; what is at work is ended."""
