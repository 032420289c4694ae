"""How much a merge loses when its factors are written in fewer bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank
from loramerge.fidelity import measure, total
from loramerge.formats import AdapterOutput

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.recipe import Recipe

COARSE = {"float16": 5e-3, "bfloat16": 5e-2}
"""Relative error from which on more is lost than rounding explains: values too small for the format are gone."""


def rounding_of(recipe: Recipe, merged: Adapter) -> dict[str, float]:
    """Relative error of every adapter output that is not float32, over all modules: ‖rounded - merged‖ / ‖merged‖.

    Args:
        recipe: Names the outputs.
        merged: What they are written from.
    """
    by_dtype: dict[str, float] = {}
    found = {}
    for output in recipe.outputs:
        if isinstance(output, AdapterOutput) and output.dtype != "float32":
            if output.dtype not in by_dtype:
                by_dtype[output.dtype] = _error(merged, output.dtype)
            found[output.folder] = by_dtype[output.dtype]
    return found


def coarse(recipe: Recipe, rounding: dict[str, float]) -> list[str]:
    """A sentence for every output that loses more than its format explains."""
    dtypes = {output.folder: output.dtype for output in recipe.outputs}
    return [
        f"output {name}: {dtypes[name]} loses {error:.1%} of the merge, because values are too small for it; "
        "write it with dtype: float32"
        for name, error in rounding.items()
        if error > COARSE.get(str(dtypes[name]), math.inf)
    ]


def _error(merged: Adapter, dtype: str) -> float:
    import torch

    from loramerge.adapter import Adapter

    target = {"float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
    rounded = Adapter(
        {
            component: {
                name: LowRank(pair.down.to(target).float(), pair.up.to(target).float(), pair.scale)
                for name, pair in modules.items()
            }
            for component, modules in merged.components.items()
        }
    )
    found = measure(rounded, {"merged": (merged, lambda _component, _module: 1.0)})
    return (
        total({f"{component}.{name}": entry for component, modules in found.items() for name, entry in modules.items()})
        or 0.0
    )
