"""PEFT's LoraModel with a decomposition that is exact and keeps to one thread."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from loramerge.adapter import LowRank
from loramerge.numerics.svd import of_matrix, of_product, stacked
from loramerge.numerics.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

RETAINED = "_loramerge_retained_energy"
"""Attribute of a layer: the share of the squared norm that its decomposition kept."""
WEIGHTS = "_loramerge_weights"
"""Attribute of a layer: adapter → its weight there, where that is another than elsewhere."""


@cache
def exact_lora_model() -> Any:
    """PEFT's LoraModel with another decomposition: of the stacked factors, or of a Gram matrix of the delta.

    Both are in float64, keep to one thread, and give ranks module by module. What precedes the decomposition is what
    PEFT computes, with the same random numbers.
    """
    import torch
    from peft import LoraModel

    class ExactLoraModel(LoraModel):  # type: ignore[misc]  # peft is untyped here
        method: Any

        def _svd_generalized_task_arithmetic_weighted_adapter(
            self,
            combination_type: str,
            adapters: Sequence[str],
            weights: Sequence[float],
            new_rank: int,
            target: Any,
            target_lora_A: Tensor,  # noqa: N803  # PEFT's
            target_lora_B: Tensor,  # noqa: N803  # PEFT's
            *parameters: object,
            **settings: object,
        ) -> tuple[Tensor, Tensor]:
            del combination_type, parameters, settings
            own = getattr(target, WEIGHTS, {})
            every = zip(adapters, weights, strict=True)
            there = [(name, own.get(name, weight)) for name, weight in every if name in target.lora_A]
            pairs = [
                LowRank(target.lora_A[name].weight.data, target.lora_B[name].weight.data, target.scaling[name])
                for name, _ in there
            ]
            most = self.method.most([pair.rank for pair in pairs], new_rank)
            with one_thread():
                product = stacked(pairs, [weight for _, weight in there])
                if self.method.sums_deltas:
                    found = of_product(*product, most)
                else:
                    deltas = (target.get_delta_weight(name) for name, _ in there)
                    combined = self.method.combine(deltas, [weight for _, weight in there], _bernoulli)
                    found = of_matrix(combined.flatten(1), most, product)
                up, down, retained = self.method.cut(found, most)
            setattr(target, RETAINED, retained)
            rank = up.shape[1]
            return (
                down.to(torch.float32).reshape(rank, *target_lora_A.shape[1:]),
                up.to(torch.float32).reshape(len(up), rank, *target_lora_B.shape[2:]),
            )

    return ExactLoraModel


def _bernoulli(position: int, tensor: Tensor, density: float | Tensor) -> Tensor:
    """PEFT's own draw, from the global generator of the tensor's device (peft.utils.merge_utils.random_pruning)."""
    import torch

    del position
    return torch.bernoulli(torch.zeros_like(tensor).add_(density)).bool()
