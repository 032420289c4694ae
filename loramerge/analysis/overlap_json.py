"""The overlap of LoRAs as plain data: in report.json, and what `inspect --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loramerge.analysis.notable import notable
from loramerge.analysis.overlap_measures import COLUMNS, ROWS, summed

if TYPE_CHECKING:
    from loramerge.analysis.overlap import PairOverlap
    from loramerge.analysis.overlap_measures import Overlap

MOST_MODULES = 3000
"""As many entries of single modules a report has; with more, blocks have to do."""
_DIGITS = 6  # the rest depends on how sums are rounded


def as_data(pairs: Sequence[PairOverlap]) -> dict[str, Any]:
    """Every pair, and whether it is one to show to people; those with single modules, if they are not too many."""
    chosen = notable(pairs)
    shown = {pair.names for pair in chosen}
    single = sum(len(pair.modules) for pair in chosen) <= MOST_MODULES
    return {
        "signs_from": {"rows": ROWS, "columns": COLUMNS},
        "pairs": [
            {
                "loras": list(pair.names),
                "same": pair.same or None,
                "notable": pair.names in shown,
                "alone": dict(zip(pair.names, pair.alone, strict=True)),
                **by_block(pair),
                **({"by_module": _by_module(pair)} if single and pair.names in shown else {}),
            }
            for pair in pairs
        ],
    }


def by_block(pair: PairOverlap) -> dict[str, Any]:
    """One pair: all modules together, by component, and by block and kind of layer, as `parts` has the blocks."""
    blocks: dict[str, Any] = {name: measures(overlap) for name, overlap in pair.parts.items()}
    part_of, kind_of = pair.anatomy.part_of, pair.anatomy.kind_of
    for name, overlap in pair.grouped(lambda *place: f"{part_of(*place)}/{kind_of(place[1])}").items():
        block, _, kind = name.partition("/")
        blocks[block].setdefault("kinds", {})[kind] = measures(overlap)
    return {
        **measures(summed(pair.modules.values())),
        "unlike": pair.unlike,
        "components": {name: measures(overlap) for name, overlap in pair.grouped(lambda name, _: name).items()},
        "blocks": blocks,
    }


def measures(overlap: Overlap) -> dict[str, Any]:
    """The measures of some modules together, rounded to six decimals."""
    values = {
        "cosine": overlap.cosine,
        "column_overlap": overlap.column_overlap,
        "row_overlap": overlap.row_overlap,
        "sign_conflict": overlap.sign_conflict,
    }
    # Zero added to a negative zero makes it positive.
    rounded = {name: None if value is None else round(value, _DIGITS) + 0.0 for name, value in values.items()}
    return {"modules": overlap.modules, "sampled": overlap.sampled, **rounded}


def _by_module(pair: PairOverlap) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for (component, module), overlap in pair.modules.items():
        found.setdefault(component, {})[module] = measures(overlap)
    return found
