"""The overlap of LoRAs: every pair of them, module by module, and summed up over modules that belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from loramerge.analysis.overlap_measures import Delta, Overlap, compare, summed
from loramerge.bases.anatomy import Anatomy
from loramerge.bases.blocks import block_of
from loramerge.numerics.threads import one_thread, workers

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.analysis.fidelity import Fidelity
    from loramerge.merging.block_weights import Weighing
    from loramerge.progress import Progress


@dataclass(frozen=True)
class PairOverlap:
    """Two LoRAs.

    Attributes:
        names: Of both.
        modules: Component and module → overlap, for the modules that both touch, sorted.
        alone: How many modules only the first and only the second touches.
        unlike: How many modules are in both under one name, with different shapes: they can't be compared.
        same: What they are, where they are one LoRA under two names, such as `the same file`; else empty.
        anatomy: The blocks of their base.
    """

    names: tuple[str, str]
    modules: Mapping[tuple[str, str], Overlap]
    alone: tuple[int, int]
    unlike: int
    same: str = ""
    anatomy: Anatomy = field(default_factory=Anatomy)

    @property
    def parts(self) -> dict[str, Overlap]:
        """The overlap by block, many of one name in rows, in the base's order; a text encoder is one part."""
        found = self.grouped(self.anatomy.part_of)
        return {part: found[part] for part in self.anatomy.in_order(found)}

    def grouped(self, by: Callable[[str, str], str | None]) -> dict[str, Overlap]:
        """The overlap of the modules that belong together.

        Args:
            by: (component, module) → name of the group, or None to leave it out.
        """
        groups: dict[str, list[Overlap]] = {}
        for (component, module), overlap in self.modules.items():
            name = by(component, module)
            if name is not None:
                groups.setdefault(name, []).append(overlap)
        return {name: summed(overlaps) for name, overlaps in groups.items()}


def overlaps(
    loras: Mapping[str, tuple[Adapter, Weighing]],
    *,
    same: Mapping[tuple[str, str], str] | None = None,
    anatomy: Anatomy | None = None,
    progress: Progress | None = None,
) -> tuple[PairOverlap, ...]:
    """Measure every pair of LoRAs, one module at a time.

    A module that weighs 0 is one that a LoRA does not touch.

    Args:
        loras: Name → adapter and its weights.
        same: What pairs of one LoRA under two names are, in words.
        anatomy: The blocks of the base; by default those of the LoRAs, sorted by name.
        progress: Told of every module.
    """
    touched = {
        name: {(component, module) for component, module, _ in adapter if weigh(component, module) != 0}
        for name, (adapter, weigh) in loras.items()
    }
    count = Counter(place for places in touched.values() for place in places)
    shared = sorted(place for place, number in count.items() if number > 1)
    blocks = (anatomy or Anatomy()).with_others(block_of(*place) for place in shared)
    found: dict[tuple[str, str], dict[tuple[str, str], Overlap]] = {names: {} for names in combinations(loras, 2)}

    def measured(place: tuple[str, str]) -> dict[tuple[str, str], Overlap]:
        present = [name for name in loras if place in touched[name]]
        return dict(compare({name: _delta(place, *loras[name]) for name in present}))

    if shared and progress is not None:
        progress.start("compare", len(shared))
    with one_thread(), workers() as pool:
        for place, entries in zip(shared, pool.map(measured, shared), strict=True):
            for names, overlap in entries.items():
                found[names][place] = overlap
            if progress is not None:
                progress.advance()
    return tuple(
        PairOverlap(
            names=(one, other),
            modules=found[one, other],
            alone=(len(touched[one] - touched[other]), len(touched[other] - touched[one])),
            unlike=len(touched[one] & touched[other]) - len(found[one, other]),
            same=(same or {}).get((one, other), ""),
            anatomy=blocks,
        )
        for one, other in found
    )


def directions(
    fidelity: Fidelity, names: Sequence[str], *, same: Mapping[tuple[str, str], str], anatomy: Anatomy
) -> tuple[PairOverlap, ...]:
    """Every pair of LoRAs, by what measuring the merge told of them: cosines and sizes, no spaces and no signs.

    Args:
        fidelity: Of the merge.
        names: Of the LoRAs.
        same: What pairs of one LoRA under two names are, in words.
        anatomy: The blocks of the base.
    """
    found: dict[tuple[str, str], dict[tuple[str, str], Overlap]] = {pair: {} for pair in combinations(names, 2)}
    for component, modules in fidelity.items():
        for module, entry in modules.items():
            for pair, product in entry.products.items():
                one, other = (entry.norms[name] ** 2 for name in pair)
                overlap = Overlap(modules=1, product=product, energy=one, other_energy=other)
                found[pair][component, module] = overlap
    return tuple(
        PairOverlap(pair, modules, alone=(0, 0), unlike=0, same=same.get(pair, ""), anatomy=anatomy)
        for pair, modules in found.items()
    )


def _delta(place: tuple[str, str], adapter: Adapter, weigh: Weighing) -> Delta:
    component, module = place
    return Delta.of(adapter.components[component][module], weigh(component, module))
