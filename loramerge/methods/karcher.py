"""`karcher`: the mean of directions on the sphere, with the mean of the norms; as mergekit defines it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.methods.sphere_mean import SphereMean
from loramerge.numerics.sphere import karcher_mean

if TYPE_CHECKING:
    from torch import Tensor


class Karcher(SphereMean):
    """Karcher mean of each module's deltas (Karcher, Communications on Pure and Applied Mathematics 30, 1977)."""

    combination_type: Literal["karcher"] = Field(
        description="The Karcher mean: that of the directions on the sphere, as long as the LoRAs are in the mean; "
        "weights are shares; cut to svd_rank."
    )

    summary: ClassVar[str] = "a mean as strong as the LoRAs are; weights are shares, only their ratio counts"

    def mean(self, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Of any number of directions."""
        return karcher_mean(tensors, weights)
