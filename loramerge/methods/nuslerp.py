"""`nuslerp`: two LoRAs, mixed along the great circle of their directions; as mergekit defines it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.methods.sphere_mean import SphereMean
from loramerge.numerics.sphere import slerp

if TYPE_CHECKING:
    from torch import Tensor


class NuSlerp(SphereMean):
    """Spherical interpolation of each module's two deltas (Shoemake, SIGGRAPH 1985)."""

    combination_type: Literal["nuslerp"] = Field(
        description="Spherical interpolation of two LoRAs: a mix as strong as they are; weights are shares; cut to "
        "svd_rank."
    )

    most_loras: ClassVar[int | None] = 2
    summary: ClassVar[str] = "mixes two LoRAs, as strong as they are; weights are shares, only their ratio counts"

    def mean(self, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Of two directions."""
        return slerp(tensors, weights)
