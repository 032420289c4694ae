"""`iso_c`: the sum with all of its directions equally strong (Marczak et al., isotropic merging, arXiv:2502.04959)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.methods.spectral import SpectralParameters
from loramerge.numerics.spectral import decomposed, evened, summed

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.numerics.svd import Decomposition


class IsoC(SpectralParameters):
    """Sets every singular value of the weighted sum that is not zero to their mean.

    The weights are those of the sum, which the paper scales by one factor afterwards. All values are equal, so a
    smaller rank keeps the directions that are strongest in the sum.
    """

    combination_type: Literal["iso_c"] = Field(
        description="Iso-C: the weighted sum of the deltas with all singular values set to their mean; cut to svd_rank."
    )

    sums_values: ClassVar[bool] = True
    summary: ClassVar[str] = "makes all directions of the sum equally strong; svd_rank: sum keeps all of them"

    @property
    def why_far(self) -> str:
        """Strong directions are weakened."""
        return f"`iso_c` makes all directions equally strong by design{self.cut_said}"

    def merged_matrix(self, matrices: Sequence[Tensor], weights: Sequence[float]) -> Decomposition:
        """The sum's triples with one value."""
        weighted = [matrix * weight for matrix, weight in zip(matrices, weights, strict=True)]
        return evened(decomposed(summed(weighted), weighted))
