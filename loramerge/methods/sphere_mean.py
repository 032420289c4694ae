"""For the types that are means on the sphere: of directions along its great circles, as strong as the LoRAs are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from loramerge.methods.spectral import SpectralParameters
from loramerge.numerics.spectral import decomposed

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.methods.method import Keep
    from loramerge.numerics.svd import Decomposition


class SphereMean(SpectralParameters):
    """A mean of each module's deltas.

    The weights are shares: only their ratio counts, and a negative one turns its delta round. What one LoRA alone
    touches is that LoRA times its weight.
    """

    @property
    def why_far(self) -> str:
        """A mean is no sum."""
        return f"`{self.combination_type}` is a mean, which takes weights as shares{self.cut_said}"

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """The mean of values, as of one long vector each."""
        del keep
        given = list(tensors)
        return self._mean_or_alone(given, weights).to(given[0].dtype)

    def merged_matrix(self, matrices: Sequence[Tensor], weights: Sequence[float]) -> Decomposition:
        """The mean, decomposed."""
        return decomposed(self._mean_or_alone(matrices, weights))

    @abstractmethod
    def mean(self, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """The mean of two tensors or more.

        Args:
            tensors: Of one shape.
            weights: A share for each.

        Returns:
            Float64, of that shape.
        """

    def _mean_or_alone(self, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        return tensors[0] * weights[0] if len(tensors) == 1 else self.mean(tensors, weights)
