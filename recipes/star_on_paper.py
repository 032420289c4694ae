"""What `star-on-paper.yaml` is tuned by: how much of a star, of ink and of paper is to be seen in pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loramerge.search.judged import Picture

sys.path.insert(0, str(Path(__file__).parent / "quickstart"))

from train import concepts

WANTED = ("star", "ink", "paper")


def score(pictures: Sequence[Picture]) -> float:
    """The mean over pictures of the concept that comes off worst; 1 where all are plain to see in all of them."""
    return mean(min(shown(picture).values()) for picture in pictures)


def shown(picture: Picture) -> dict[str, float]:
    """Each concept's score, of what it takes to be seen; at most 1."""
    found = concepts.measure(picture.image)
    return {name: min(1.0, found[name] / concepts.SHOWS[name]) for name in WANTED}
