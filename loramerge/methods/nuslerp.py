"""`nuslerp`: two LoRAs, mixed along the great circle of their directions; as mergekit defines it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.methods.spectral import SpectralParameters
from loramerge.numerics.spectral import decomposed
from loramerge.numerics.sphere import slerp

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.methods.method import Keep
    from loramerge.numerics.svd import Decomposition


class NuSlerp(SpectralParameters):
    """Spherical interpolation of each module's two deltas (Shoemake, Animating rotation with quaternion curves, 1985).

    The weights are shares: only their ratio counts, and a negative one turns its delta round. What one LoRA alone
    touches is that LoRA times its weight.
    """

    combination_type: Literal["nuslerp"] = Field(
        description="Spherical interpolation of two LoRAs: a mix as strong as they are; weights are shares; cut to "
        "svd_rank."
    )

    most_loras: ClassVar[int | None] = 2
    summary: ClassVar[str] = "mixes two LoRAs, as strong as they are; weights are shares, only their ratio counts"

    @property
    def why_far(self) -> str:
        """A mean is no sum."""
        return f"`nuslerp` is a mean, which takes weights as shares{self.cut_said}"

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """The mix of values, as of one long vector each."""
        del keep
        given = list(tensors)
        return (given[0] * weights[0] if len(given) == 1 else slerp(given, weights)).to(given[0].dtype)

    def merged_matrix(self, matrices: Sequence[Tensor], weights: Sequence[float]) -> Decomposition:
        """The mix, decomposed."""
        return decomposed(matrices[0] * weights[0] if len(matrices) == 1 else slerp(matrices, weights))
