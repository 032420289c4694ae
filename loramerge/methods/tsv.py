"""`tsv`: singular vectors of all deltas, made orthogonal to each other (Gargiulo et al., TSV-M, arXiv:2412.00081)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.methods.spectral import SpectralParameters
from loramerge.numerics.spectral import decomposed, joined

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.numerics.svd import Decomposition


class Tsv(SpectralParameters):
    """Concatenates the singular vectors of each delta and replaces both sets by the nearest orthonormal ones.

    The paper keeps the n-th part of the directions of each of n tasks, for a matrix has room for no more. LoRAs keep
    all, unless they have more together than the module. A weight multiplies the singular values of its LoRA, as the
    paper's one factor does those of all tasks.
    """

    combination_type: Literal["tsv"] = Field(
        description="TSV-M: singular vectors of all deltas, made orthogonal to each other, with their values times the "
        "weights; cut to svd_rank."
    )

    sums_values: ClassVar[bool] = True
    summary: ClassVar[str] = "singular vectors of all LoRAs, made orthogonal; svd_rank: sum has room for all of them"

    @property
    def why_far(self) -> str:
        """Directions that LoRAs share are turned."""
        return f"`tsv` turns directions that LoRAs share away from each other by design{self.cut_said}"

    def merged_matrix(self, matrices: Sequence[Tensor], weights: Sequence[float]) -> Decomposition:
        """The triples of each, turned so that they are orthogonal."""
        import torch

        found, room = [decomposed(matrix) for matrix in matrices], min(matrices[0].shape)
        if sum(len(each.values) for each in found) > room:
            found = [each.first(max(1, room // len(matrices))) for each in found]
        values = torch.cat([each.values * weight for each, weight in zip(found, weights, strict=True)])
        together = joined(found, values)
        return decomposed((together.left * values) @ together.right)
