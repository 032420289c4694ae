"""PEFT's own merge, on a real model with its weights: what `engine: peft` must equal."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor, float]


def peft_merge(
    model: Any,
    loras: Sequence[Mapping[str, Pair]],
    weights: Sequence[float],
    seed: int,
    **kwargs: Any,
) -> dict[str, Pair]:
    """Merge with a PeftModel and `add_weighted_adapter`.

    Args:
        model: The component, materialised; it is copied, not changed.
        loras: Each a mapping of modules, by checkpoint name, to (down, up, alpha).
        weights: One per LoRA.
        seed: Of torch's global generator, set right before the merge.
        kwargs: `combination_type` and its parameters.

    Returns:
        The merged adapter by checkpoint name: (down, up, scale). Unlike what goes in, the third is the scale.
    """
    peft_model, names, adapters = _prepared(model, loras)
    torch.manual_seed(seed)
    peft_model.add_weighted_adapter(adapters, list(weights), "merged", **kwargs)

    layers = dict(peft_model.base_model.model.named_modules())
    merged: dict[str, Pair] = {}
    for name, live_name in names.items():
        layer = layers[live_name]
        down, up = (side["merged"].weight.detach() for side in (layer.lora_A, layer.lora_B))
        merged[name] = (down, up, float(layer.scaling["merged"]))
    peft_model.delete_adapter("merged")
    return merged


_KEPT: dict[tuple[int, ...], tuple[Any, ...]] = {}


def _prepared(model: Any, loras: Sequence[Mapping[str, Pair]]) -> tuple[Any, dict[str, str], list[str]]:
    """A PeftModel with these LoRAs, the live name of each of their modules, and what the adapters are called.

    The last ones are kept: most of a merge's time is spent on them, and those who merge the same again share them.
    """
    key = (id(model), *map(id, loras))
    if key not in _KEPT:
        while len(_KEPT) >= 8:
            del _KEPT[next(iter(_KEPT))]
        _KEPT[key] = (*_prepare(model, loras), model, [*loras])  # held, so that no other object gets its id
    return _KEPT[key][:3]


def _prepare(model: Any, loras: Sequence[Mapping[str, Pair]]) -> tuple[Any, dict[str, str], list[str]]:
    from peft import get_peft_model
    from peft.utils import set_peft_model_state_dict

    live = dict(model.named_modules())
    names = {name: name if name in live else name.removeprefix("text_model.") for lora in loras for name in lora}
    base, peft_model = copy.deepcopy(model), None
    adapters = [f"lora_{number}" for number in range(len(loras))]
    for adapter, lora in zip(adapters, loras, strict=True):
        named = {names[name]: pair for name, pair in lora.items()}
        if peft_model is None:
            peft_model = get_peft_model(base, _config(named), adapter_name=adapter)
        else:
            peft_model.add_adapter(adapter, _config(named))
        tensors = {
            f"base_model.model.{name}.lora_{side}.weight": tensor
            for name, (down, up, _) in named.items()
            for side, tensor in (("A", down), ("B", up))
        }
        outcome = set_peft_model_state_dict(peft_model, tensors, adapter_name=adapter)
        assert not outcome.unexpected_keys
    return peft_model, names, adapters


def _config(lora: Mapping[str, Pair]) -> Any:
    from peft import LoraConfig

    ranks = {name: down.shape[0] for name, (down, _, _) in lora.items()}
    alphas = {name: alpha for name, (_, _, alpha) in lora.items()}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        rank_pattern={f"^{re.escape(name)}": value for name, value in ranks.items() if value != rank},
        alpha_pattern={f"^{re.escape(name)}": value for name, value in alphas.items() if value != alpha},
        # A list would match by suffix and hit modules that the LoRA does not have.
        target_modules="|".join(map(re.escape, sorted(lora))),
    )
