"""What a folder holds of recipes that are no longer there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.files.digest import sha256_of
from loramerge.files.run_lock import in_turn
from loramerge.targets import record
from loramerge.targets.folder_contents import give_up, published_in, record_in, records_in, remove_file
from loramerge.targets.held import Orphan

if TYPE_CHECKING:
    from loramerge.targets.record import Record


def orphans_in(place: Path, home: str, recipes: Collection[str]) -> Iterator[Orphan]:
    """Of recipes from a folder, those that are no longer in it.

    Args:
        place: Where the target is.
        home: What tells that folder of recipes from all others.
        recipes: Names of those that are there.

    Raises:
        OSError: It can't be read.
    """
    every = records_in(place)
    for known in every:
        if known.home == home and known.recipe not in recipes:
            others = {name for each in every if each.recipe != known.recipe for name in each.claimed}
            there, still = _there(place, known)
            there = [name for name in there if name not in others]
            yield Orphan(
                str(place),
                known.recipe,
                tuple(name for name in there if name in still),
                tuple(name for name in there if name not in still),
            )


def prune(place: Path, recipe: str) -> None:
    """Remove what is unchanged of a recipe and nobody else's, the folders that this leaves empty, and the record.

    Raises:
        OSError: It can't be removed.
    """
    with in_turn(place):
        if (known := record_in(place, recipe)) is not None:
            for name in give_up(place, recipe, _there(place, known)[1]):
                remove_file(place, name)
            remove_file(place, record.place(recipe))


def _there(place: Path, known: Record) -> tuple[list[str], set[str]]:
    """Files of a record that are there, and those of them that nobody changed: words of its owner in a card count."""
    present = published_in(place)
    there = [name for name in known.digests if name in present]
    return there, {name for name in there if sha256_of(present[name]) in known.digests[name]}
