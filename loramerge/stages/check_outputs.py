"""Whether the outputs of a recipe can hold its merge, before there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramerge.errors import MismatchError
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.recipe import Recipe
    from loramerge.stages.load import Loaded


def check_outputs(recipe: Recipe, loaded: Loaded) -> None:
    """Raise before anything is merged where an output can't hold the merge.

    Raises:
        MismatchError: It has no names for the base's family, or for a component that LoRAs touch, or no room for what
            was trained in full.
    """
    touched = dict.fromkeys(component for lora in loaded.loras for component in lora.adapter.components)
    for output in recipe.outputs:
        output.check(loaded.base, [*touched])
    saved = {lora.name: [name for _, name, _ in lora.adapter.each_saved()] for lora in loaded.loras}
    for lora, names in saved.items():
        for output in recipe.outputs if names else ():
            if not output.holds_saved:
                raise MismatchError(
                    f"LoRA {lora} has parameters that were trained in full ({some(names)}), and the output "
                    f"{output.folder} has no room for them",
                    hint="write `kind: adapter` with `format: peft`, or leave the LoRA out",
                )
