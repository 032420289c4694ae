"""`sce`: select, calculate, erase (Wan et al., FuseChat, arXiv:2408.07990)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.methods.parameters import PruningParameters, SpaceParameters
from loramerge.methods.spectral import OwnParameters
from loramerge.numerics.magnitude import largest
from loramerge.numerics.task_arithmetic import weighted_sum

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.methods.method import Keep


class Sce(OwnParameters, PruningParameters, SpaceParameters):
    """A mean of the deltas where they differ most, each counted by its energy there.

    The positions with the largest variance are selected. Each delta's share is its part of the squared values that are
    left; values against the sign of their sum are erased, and shares count among those that stay. The weights multiply
    the deltas first. What one LoRA alone touches differs from nothing, and is that LoRA times its weight.
    """

    combination_type: Literal["sce"] = Field(
        description="SCE: the mean of the deltas where they differ most, weighted by their energy, without values "
        "against the majority's sign; cut to svd_rank."
    )

    selects: ClassVar[bool] = True
    sign_elected: ClassVar[bool] = True
    suggested: ClassVar[Mapping[str, float | str]] = MappingProxyType({"density": 0.5})

    @property
    def why_far(self) -> str:
        """A mean is no sum."""
        return "`sce` is a mean, drops values by design, and cuts the result to a rank"

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """Select by variance, calculate shares, erase minorities."""
        import torch

        del keep
        given = list(tensors)
        if len(given) == 1:
            return weighted_sum(given, weights)
        deltas = torch.stack([tensor * weight for tensor, weight in zip(given, weights, strict=True)])
        if self.density < 1:
            variance = deltas.var(0, unbiased=False)
            deltas *= largest(variance, int(self.density * int(variance.count_nonzero()))) != 0
        energies = deltas.flatten(1).double().square().sum(1)
        if not float(energies.sum()):
            return torch.zeros_like(given[0])
        majority = torch.where(deltas.sum(0) >= 0, 1.0, -1.0).to(deltas.dtype)
        shares = (energies / energies.sum()).to(deltas.dtype)
        counted = (deltas.sign() == majority) * shares.view(-1, *(1 for _ in deltas.shape[1:]))
        return (deltas * counted).sum(0) / counted.sum(0).clamp(min=torch.finfo(deltas.dtype).tiny)
