"""`iso_cts`: common and task-specific directions, equally strong (Marczak et al., arXiv:2502.04959)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.methods.spectral import SpectralParameters
from loramerge.numerics.spectral import decomposed, evened, joined, summed

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.numerics.svd import Decomposition


class IsoCts(SpectralParameters):
    """The leading directions of the weighted sum, and of each LoRA the leading ones of what they leave of it.

    Both sets of singular vectors are replaced by the nearest orthonormal ones, and all singular values by their mean.
    The paper divides up as many directions as the matrix has; here those are divided that the LoRAs have together. The
    weights multiply the deltas first. A smaller rank keeps common directions before those of single LoRAs.
    """

    combination_type: Literal["iso_cts"] = Field(
        description="Iso-CTS: the leading directions of the weighted sum, completed by those of each LoRA that it "
        "lacks, all equally strong; cut to svd_rank."
    )
    common_share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Share of the directions that is taken from the sum; each LoRA has an equal part of the others.",
    )

    sums_values: ClassVar[bool] = True
    summary: ClassVar[str] = "as iso_c, with room for what single LoRAs add; svd_rank: sum keeps all directions"

    @property
    def why_far(self) -> str:
        """Strong directions are weakened."""
        return f"`iso_cts` makes all directions equally strong by design{self.cut_said}"

    def merged_matrix(self, matrices: Sequence[Tensor], weights: Sequence[float]) -> Decomposition:
        """Common triples, then those of each LoRA, with one value."""
        import torch

        weighted = [matrix * weight for matrix, weight in zip(matrices, weights, strict=True)]
        size, count = min(matrices[0].shape), len(matrices)
        own = min(round((size - int(size * self.common_share)) / count), size // count)
        common = decomposed(summed(weighted), weighted).first(size - own * count)
        rest = [matrix - common.left @ (common.left.mT @ matrix) for matrix in weighted]
        found = [common, *(decomposed(each, [whole]).first(own) for each, whole in zip(rest, weighted, strict=True))]
        return evened(joined(found, torch.cat([each.values for each in found])))
