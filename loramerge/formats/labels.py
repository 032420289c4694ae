"""What a file says of itself besides its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

CONVERTED_FROM = "loramerge.converted_from"


@dataclass(frozen=True)
class Labels:
    """What a file says of itself besides its tensors.

    Attributes:
        name: The recipe's name.
        description: The recipe's description.
        recipe_sha256: Of the recipe's text.
        inputs: Name of every LoRA that went in → place of each of its files → sha256.
        trigger_phrases: Of the inputs, in their order, each once.
        prediction_types: What inputs say that their models predict: `v` or `epsilon`.
        tag_frequency: Of the inputs: kohya's training tags, data set → tag → count.
        licence: Of the file, as the Hub names it; empty where it is not known.
        is_converted: It is one LoRA in another format, and no merge.
        kept: What a file that is converted says of itself, as far as that holds for any format.
    """

    name: str
    description: str = ""
    recipe_sha256: str = ""
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    trigger_phrases: tuple[str, ...] = ()
    prediction_types: tuple[str, ...] = ()
    tag_frequency: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    licence: str = ""
    is_converted: bool = False
    kept: Mapping[str, str] = field(default_factory=dict)

    def origin(self, *names: str) -> dict[str, str]:
        """Safetensors metadata that tell where a lone file comes from: the recipe and all inputs, or those named."""
        inputs = {name: dict(files) for name, files in self.inputs.items() if name in (names or self.inputs)}
        if self.is_converted:
            files = {place: digest for each in inputs.values() for place, digest in each.items()}
            return {CONVERTED_FROM: json.dumps(files, sort_keys=True, ensure_ascii=False)}
        return {
            "loramerge.recipe": self.name,
            "loramerge.recipe_sha256": self.recipe_sha256,
            "loramerge.inputs": json.dumps(inputs, sort_keys=True, ensure_ascii=False),
        }
