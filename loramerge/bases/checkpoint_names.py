"""What checkpoints call the layers of a model of transformers, where that is not what the installed release calls them.

transformers 5 has renamed the layers of some models, such as ViT, and renames the tensors of a checkpoint when it loads
them. LoRAs that were trained before have the checkpoint's names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

_WEIGHT = ".weight"


def checkpoint_names(model: Any, layers: Iterable[str]) -> dict[str, str]:
    """Name in memory → name in a checkpoint, for the layers whose names differ.

    Args:
        model: Of transformers.
        layers: Names in memory.
    """
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import PrefixChange, WeightRenaming, rename_source_key
    except ImportError:  # before 5 both names were one
        return {}
    there = [each for each in get_model_conversion_mapping(model, add_legacy=False) if isinstance(each, WeightRenaming)]
    # Whether a prefix was there only the checkpoint tells.
    there = [each for each in there if not isinstance(each, PrefixChange)]
    back = [each.reverse_transform() for each in reversed(there)]
    found = {}
    for layer in layers:
        key, _ = rename_source_key(f"{layer}{_WEIGHT}", back, [])
        again, _ = rename_source_key(key, there, [])
        # A rule that can't be turned round says nothing.
        if again == f"{layer}{_WEIGHT}" and key != again:
            found[layer] = key.removesuffix(_WEIGHT)
    counts = Counter(found.values())
    return {layer: name for layer, name in found.items() if counts[name] == 1}
