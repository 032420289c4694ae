"""What is drawn in each row: a prompt from a seed's noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loramerge.recipe import Preview


@dataclass(frozen=True)
class Shot:
    """One row of pictures.

    Attributes:
        number: From `01` on, as in the names of files.
        prompt: What is drawn.
        seed: Of the first noise.
    """

    number: str
    prompt: str
    seed: int

    @property
    def label(self) -> str:
        """What a sheet calls the row."""
        return f"seed {self.seed} · {' '.join(self.prompt.split())}"


def shots(preview: Preview) -> tuple[Shot, ...]:
    """Every prompt with every seed."""
    pairs = [(prompt, seed) for prompt in preview.prompts for seed in preview.seeds]
    return tuple(Shot(f"{number:02}", *pair) for number, pair in enumerate(pairs, start=1))


def batches(rows: Sequence[Shot], size: int) -> Iterator[Sequence[Shot]]:
    """The rows in groups that are drawn at once; the last may be smaller."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
