"""What a merge takes on disk beside what its LoRAs' number format would take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from loramerge.tensor_files.header import ITEM_SIZES, STORED_AS

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.recipe import Recipe

_WIDE = "float32"


def storage(recipe: Recipe, merged: Adapter, loras: Iterable[Adapter]) -> dict[str, Any] | None:
    """Outputs in float32 of LoRAs that all have fewer bits; None where there is no such thing.

    Args:
        recipe: Names the outputs.
        merged: What they hold; nothing of it is read.
        loras: What went in.

    Returns:
        `outputs`: their folders; `dtype`: of the LoRAs; `size`, `size_in_dtype`: bytes of the tensors of one output.
    """
    wide = [each.folder for each in recipe.outputs if each.holds_merged_lora and each.number_format == _WIDE]
    formats = {name for lora in loras for *_, pair in lora for name in pair.number_formats}
    narrow = formats & {"float16", "bfloat16"}
    if not wide or not narrow or any(name.startswith(("float32", "float64")) for name in formats):
        return None
    dtype = narrow.pop() if len(narrow) == 1 else "float16"
    count = sum(pair.size for *_, pair in merged)
    return {
        "outputs": wide,
        "dtype": dtype,
        "size": count * ITEM_SIZES[STORED_AS[_WIDE]],
        "size_in_dtype": count * ITEM_SIZES[STORED_AS[dtype]],
    }
