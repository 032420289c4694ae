"""What is right, in float64 and dense: the sum that a merge should be, and what a live model holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pairs import checkpoint_name
from torch import Tensor

Deltas = Mapping[str, Mapping[str, Tensor]]  # component → module → delta


def weighted_sum(terms: Iterable[tuple[Deltas, float]]) -> dict[str, dict[str, Tensor]]:
    """Σ wᵢΔᵢ; a module that only some have is summed over those."""
    total: dict[str, dict[str, Tensor]] = {}
    for deltas, weight in terms:
        for component, modules in deltas.items():
            sums = total.setdefault(component, {})
            for name, delta in modules.items():
                sums[name] = sums[name] + weight * delta.double() if name in sums else weight * delta.double()
    return total


def relative_error(got: Mapping[str, Any], want: Mapping[str, Any]) -> float:
    """‖got - want‖ / ‖want‖ over all tensors; the mappings may be nested, and what one of them lacks is zero.

    Without the denominator where `want` is zero.
    """
    have, wanted = _flat(got), _flat(want)
    off = whole = 0.0
    for key in have.keys() | wanted.keys():
        difference = have.get(key, torch.zeros(())).double() - wanted.get(key, torch.zeros(())).double()
        if key in have and key in wanted and have[key].shape != wanted[key].shape:
            raise AssertionError(f"{key}: {tuple(have[key].shape)} against {tuple(wanted[key].shape)}")
        off += float(difference.square().sum())
        whole += float(wanted[key].double().square().sum()) if key in wanted else 0.0
    return math.sqrt(off / whole if whole else off)


def adapter_deltas(model: Any, adapter_name: str, component: str = "unet") -> dict[str, Tensor]:
    """Module → delta of one LoRA in a live model (with PEFT layers, or a PeftModel), by checkpoint name.

    It uses each layer's own scaling; `component` is needed for the names of text encoders alone.
    """
    from peft.tuners.lora.layer import LoraLayer

    found: dict[str, Tensor] = {}
    for live, layer in model.named_modules():
        if not isinstance(layer, LoraLayer) or adapter_name not in layer.lora_A:
            continue
        down = layer.lora_A[adapter_name].weight.detach().double()
        up = layer.lora_B[adapter_name].weight.detach().double()
        delta = (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])
        name = checkpoint_name(component, live.removeprefix("base_model.model."))
        found[name] = delta * layer.scaling[adapter_name]
    return found


def pipeline_deltas(pipeline: Any, adapter_name: str) -> dict[str, dict[str, Tensor]]:
    """The same for every component of a pipeline that has such a LoRA."""
    components = ("unet", "text_encoder", "text_encoder_2")
    models = {component: getattr(pipeline, component, None) for component in components}
    found = {
        component: adapter_deltas(model, adapter_name, component)
        for component, model in models.items()
        if model is not None
    }
    return {component: modules for component, modules in found.items() if modules}


def _flat(nested: Mapping[str, Any]) -> dict[str, Tensor]:
    flat: dict[str, Tensor] = {}
    for key, value in nested.items():
        if isinstance(value, Tensor):
            flat[key] = value
        else:
            flat |= {f"{key}/{inner}": tensor for inner, tensor in _flat(value).items()}
    return flat
