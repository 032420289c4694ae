"""How much a merge loses when its factors are written in fewer bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from loramerge.analysis.fidelity import EXACT
from loramerge.deltas.dense import Dense
from loramerge.numerics.gram import gram_in_strips
from loramerge.numerics.norms import gram_of_ups, inner_product, norm_of, root_of
from loramerge.tensor_files.header import STORED_AS, torch_dtype

if TYPE_CHECKING:
    import torch

    from loramerge.adapter import LowRank
    from loramerge.numerics.gram import KeptGram
    from loramerge.recipe import Recipe

COARSE = {"float16": 5e-3, "bfloat16": 5e-2}
"""Relative error from which on more is lost than rounding explains: values too small for the format are gone."""


def formats_of(recipe: Recipe) -> tuple[str, ...]:
    """The number formats other than float32 in which the merged LoRA is written."""
    used = {output.number_format for output in recipe.outputs if output.holds_merged_lora}
    return tuple(sorted(dtype for dtype in used if dtype not in (None, "float32")))


def loss(pair: LowRank, dtype: str, *, ups: KeptGram | None = None, exact_up: bool = False) -> float:
    """Norm of what a pair's delta loses when both factors are rounded: ‖round(up)·round(down) - up·down‖ · |scale|.

    With E the errors of the factors that is ‖E_up·round(down) + up·E_down‖, a pair of twice the rank. None of its terms
    is larger than the whole by more than a few times, so that float32 tells it to about 1e-6 of itself.

    Args:
        pair: In memory.
        dtype: `float16` or `bfloat16`.
        ups: The Gram matrix of the pair's up, for whoever has it.
        exact_up: The number format is known to hold the pair's up as it is.
    """
    import torch

    if pair.is_dense:
        return norm_of(Dense.of(_rounding_error(pair.matrix() * pair.scale, dtype)))
    up, down = pair.up.flatten(1), pair.down.flatten(1).T
    down_error = _rounding_error(down, dtype)
    if exact_up or not (up_error := _rounding_error(up, dtype)).numpy().any():
        gram = (ups or gram_of_ups([pair]))(torch.float32).float()
    else:
        gram = gram_in_strips(torch.cat([up_error, up], 1))
        down_error = torch.cat([down + down_error, down_error], 1)
    return root_of(inner_product(gram, gram_in_strips(down_error))) * abs(pair.scale)


def _rounding_error(tensor: torch.Tensor, dtype: str) -> torch.Tensor:
    return tensor.to(torch_dtype(STORED_AS[dtype])).float().sub_(tensor)


def by_output(recipe: Recipe, rounding: Mapping[str, float]) -> dict[str, float]:
    """Relative error of every adapter output that is not float32, by the output's folder.

    Args:
        recipe: Names the outputs.
        rounding: Relative error over all modules by number format.
    """
    dtypes = {output.folder: output.number_format for output in recipe.outputs if output.holds_merged_lora}
    return {folder: rounding[dtype] for folder, dtype in dtypes.items() if dtype is not None and dtype in rounding}


def rounded_outputs(recipe: Recipe, rounding: Mapping[str, float]) -> dict[str, list[str]]:
    """What rounding does to outputs, in words → their folders; of those alone that are not the merge to the digit.

    Args:
        recipe: Names the outputs.
        rounding: As `by_output` returns it.
    """
    found: dict[str, list[str]] = {}
    for output in recipe.outputs:
        words = ""
        if output.holds_merged_lora:
            error = rounding.get(output.folder, 0.0)
            words = f"{output.number_format} loses {error:.1e} of the merge" if error > EXACT else ""
        elif output.fused_at is not None and output.number_format != "float32":
            words = f"sums rounded to {output.number_format or 'the number format of the base'}"
        if words:
            found.setdefault(words, []).append(output.folder)
    return found


def before_rounding(recipe: Recipe, rounding: Mapping[str, float]) -> str:
    """What an error of the merge is measured before, as the end of a sentence; empty where nothing is rounded."""
    found = [f"{', '.join(folders)}: {words}" for words, folders in rounded_outputs(recipe, rounding).items()]
    return f", before rounding ({'; '.join(found)})" if found else ""


def coarse(recipe: Recipe, rounding: Mapping[str, float]) -> list[str]:
    """A sentence for every output that loses more than its format explains."""
    dtypes = {output.folder: output.number_format for output in recipe.outputs}
    return [
        f"output {name}: {dtypes[name]} loses {error:.1%} of the merge, because values are too small for it; "
        "write it with dtype: float32"
        for name, error in rounding.items()
        if error > COARSE.get(str(dtypes[name]), math.inf)
    ]
