"""`della`: drop at random, small values sooner, then signs elected (Deep et al., DELLA-Merging, arXiv:2406.11617)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from loramerge.methods.parameters import ElectionParameters, PruningParameters, RandomParameters, SpaceParameters
from loramerge.methods.spectral import OwnParameters
from loramerge.numerics.magnitude import rank_in_row
from loramerge.numerics.task_arithmetic import elected_mean

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.methods.method import Keep


class Della(OwnParameters, PruningParameters, ElectionParameters, RandomParameters, SpaceParameters):
    """MAGPRUNE on each delta, then an election of signs as in TIES.

    A value is kept with a probability that grows with its rank among the magnitudes of its row, from density - epsilon
    to density + epsilon, and divided by that probability. The weights multiply what is kept, as in `dare_ties`; they
    have no part in the election.
    """

    combination_type: Literal["della"] = Field(
        description="DELLA: each delta with random values dropped, small ones sooner, and the rest rescaled; merged by "
        "elected signs, cut to svd_rank."
    )
    epsilon: float = Field(
        0.1,
        ge=0,
        lt=1,
        validate_default=True,
        description="By how much the largest values of a row are kept more often than density says, and the smallest "
        "less often; density - epsilon is above 0, density + epsilon at most 1.",
    )

    suggested: ClassVar[Mapping[str, float | str]] = MappingProxyType({"density": 0.5, "seed": 0})

    @field_validator("epsilon")
    @classmethod
    def _leaves_probabilities(cls, epsilon: float, info: ValidationInfo) -> float:
        density = info.data.get("density")
        if density is not None and not (density - epsilon > 0 and density + epsilon <= 1 + 1e-12):
            most = min(density, 1 - density)
            what = (
                f"values would be kept with probabilities from {density - epsilon:g} to {density + epsilon:g}; with "
                f"density {density:g}, epsilon is {f'at most {most:g}' if density > most else f'less than {most:g}'}"
            )
            raise PydanticCustomError("inconsistent", "{what}", {"what": what})
        return epsilon

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """Drop at random, elect signs, average what agrees."""
        thinned = [self._thinned(position, tensor, keep) for position, tensor in enumerate(tensors)]
        return elected_mean(thinned, weights, self.majority_sign_method)

    def _thinned(self, position: int, tensor: Tensor, keep: Keep) -> Tensor:
        rows = tensor.reshape(len(tensor), -1) if tensor.dim() > 1 else tensor.reshape(1, -1)
        chances = rank_in_row(rows).mul_(2 * self.epsilon).add_(self.density - self.epsilon)
        kept = keep(position, rows, chances)
        return (rows * kept).div_(chances).reshape(tensor.shape)
