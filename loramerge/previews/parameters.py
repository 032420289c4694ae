"""What LoRAs add to norms, biases and the like of a pipeline that draws: PEFT has no place for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.bases.base import Base
    from loramerge.previews.columns import ActiveLora


class ChangedParameters:
    """The parameters of a pipeline that LoRAs change themselves, and what they were before.

    Args:
        pipeline: Of diffusers.
        base: The same, without its weights.
    """

    def __init__(self, pipeline: Any, base: Base) -> None:
        self._pipeline, self._base = pipeline, base
        self._before: dict[Any, Tensor] = {}

    def set(self, loras: Sequence[ActiveLora]) -> None:
        """Add what LoRAs have for them to what they were before there was any, in float64, and round once.

        Args:
            loras: Instead of those that were there before.
        """
        import torch

        with torch.no_grad():
            for parameter, before in self._before.items():
                parameter.copy_(before)
            self._before = {}
            for component in self._base.components:
                self._add(component, loras)

    def _add(self, component: str, loras: Sequence[ActiveLora]) -> None:
        sums: dict[str, Tensor] = {}
        for lora in loras:
            for key, pair in lora.adapter.components.get(component, {}).items():
                if not pair.is_layer:
                    delta = pair.matrix().double() * (pair.scale * lora.weight)
                    sums[key] = sums[key] + delta if key in sums else delta
        model = getattr(self._pipeline, component, None) if sums else None
        if model is None:
            return
        part = self._base.components[component]
        # PEFT puts a layer that it wraps one step deeper.
        named = ((name.replace(".base_layer.", "."), parameter) for name, parameter in model.named_parameters())
        there = {part.canonical(name): parameter for name, parameter in named}
        for key, delta in sums.items():
            parameter = there[part.parameter(key)]
            self._before[parameter] = parameter.detach().clone()
            parameter.copy_(parameter.double() + delta.reshape(parameter.shape).to(parameter.device))
