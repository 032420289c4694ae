"""`karcher`: the mean of directions on the sphere, with the mean of the norms; as mergekit defines it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.methods.spectral import SpectralParameters
from loramerge.numerics.spectral import decomposed
from loramerge.numerics.sphere import karcher_mean

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.methods.method import Keep
    from loramerge.numerics.svd import Decomposition


class Karcher(SpectralParameters):
    """Karcher mean of each module's deltas (Karcher, Communications on Pure and Applied Mathematics 30, 1977).

    The weights are shares: only their ratio counts, and a negative one turns its delta round. What one LoRA alone
    touches is that LoRA times its weight.
    """

    combination_type: Literal["karcher"] = Field(
        description="The Karcher mean: that of the directions on the sphere, as long as the LoRAs are in the mean; "
        "weights are shares; cut to svd_rank."
    )

    summary: ClassVar[str] = "a mean as strong as the LoRAs are; weights are shares, only their ratio counts"

    @property
    def why_far(self) -> str:
        """A mean is no sum."""
        return f"`karcher` is a mean, which takes weights as shares{self.cut_said}"

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """The mean of values, as of one long vector each."""
        del keep
        given = list(tensors)
        return (given[0] * weights[0] if len(given) == 1 else karcher_mean(given, weights)).to(given[0].dtype)

    def merged_matrix(self, matrices: Sequence[Tensor], weights: Sequence[float]) -> Decomposition:
        """The mean, decomposed."""
        return decomposed(matrices[0] * weights[0] if len(matrices) == 1 else karcher_mean(matrices, weights))
