"""Layers that a file holds fused, of LoRAs that were trained on their parts: each part gets its own rank again.

Put together, such parts have their `down` halves one below the other, and in `up` each has zeros where the columns of
the others are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank
from loramerge.numerics.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import Adapter, Modules


def own_ranks(adapter: Adapter) -> Adapter:
    """The same deltas: parts of a fused layer without the rows and columns that are those of other parts.

    A part that has nothing but zeros beside others that have more is what nobody trained, and is left out. Layers whose
    parts share columns were trained whole, and stay.

    Args:
        adapter: As it was read.
    """
    return replace(
        adapter, components={component: dict(_apart(modules)) for component, modules in adapter.components.items()}
    )


def _apart(modules: Modules) -> Iterator[tuple[str, LowRank]]:
    together: dict[tuple[object, float], list[str]] = {}
    for name, pair in modules.items():
        own = name if pair.place_of_down is None else pair.place_of_down
        together.setdefault((own, pair.scale), []).append(name)
    for names in together.values():
        parts = {name: modules[name] for name in names}
        yield from (_own(parts) if len(parts) > 1 else parts).items()


def _own(parts: Mapping[str, LowRank]) -> Mapping[str, LowRank]:
    """Each part with its columns; all as they are where columns belong to several."""
    with one_thread():
        columns = {name: found for name, pair in parts.items() if (found := _columns(pair))}
    ordered = sorted(columns, key=lambda name: columns[name])
    runs = [columns[name] for name in ordered]
    if not runs or any(first[1] > second[0] for first, second in pairwise(runs)):
        return parts
    rank = next(iter(parts.values())).rank
    # A column of zeros between two parts adds nothing to either; it stays with the one before it.
    starts = [0, *(run[0] for run in runs[1:]), rank]
    return {name: _Columns(parts[name], starts[at], starts[at + 1]) for at, name in enumerate(ordered)}


def _columns(pair: LowRank) -> tuple[int, int] | None:
    """The first column of `up` that is not all zeros, and the one behind the last; None where all are."""
    used = pair.up.flatten(1).ne(0).any(0).nonzero().flatten().tolist()
    return (used[0], used[-1] + 1) if used else None


class _Columns(LowRank):
    """Some columns of a pair's `up` with the rows of its `down`, read when they are asked for.

    Args:
        pair: All of it.
        start: The first column.
        stop: The one behind the last.
    """

    def __init__(self, pair: LowRank, start: int, stop: int) -> None:
        object.__setattr__(self, "_pair", pair)
        object.__setattr__(self, "_taken", slice(start, stop))
        object.__setattr__(self, "scale", pair.scale)

    _pair: LowRank
    _taken: slice

    @property
    def down(self) -> Tensor:
        """Its rows."""
        return self._pair.down[self._taken]

    @property
    def up(self) -> Tensor:
        """Its columns."""
        return self._pair.up[:, self._taken]

    @property
    def rank(self) -> int:
        """Number of columns."""
        return int(self._taken.stop - self._taken.start)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight that the delta is added to."""
        return self._pair.shape

    @property
    def number_formats(self) -> frozenset[str]:
        """Those of the whole pair."""
        return self._pair.number_formats

    def loaded(self) -> LowRank:
        """The same in memory."""
        return LowRank(self.down, self.up, self.scale)
