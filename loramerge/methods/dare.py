"""The four `dare_*` types: drop values at random and rescale the rest (Yu et al., DARE, arXiv:2311.03099)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.methods.parameters import ElectionParameters, PruningParameters, RandomParameters, SpaceParameters
from loramerge.methods.svd_parameters import SvdParameters
from loramerge.numerics.task_arithmetic import Thinning, elected_mean, weighted_sum

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.methods.method import Keep

_SUGGESTED = MappingProxyType({"density": 0.5, "seed": 0})


class DareLinear(PruningParameters, RandomParameters, SpaceParameters):
    """DARE on each factor, then the weighted sum."""

    combination_type: Literal["dare_linear"] = Field(
        description="Each factor with random values dropped and the rest rescaled, then summed."
    )

    factor_wise: ClassVar[bool] = True
    suggested: ClassVar[Mapping[str, float]] = _SUGGESTED

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """Drop at random, then add."""
        given = list(tensors)
        return weighted_sum(given, weights, _thinning(given, self.density, keep))


class DareTies(PruningParameters, ElectionParameters, RandomParameters, SpaceParameters):
    """DARE on each factor, then signs elected as TIES does."""

    combination_type: Literal["dare_ties"] = Field(
        description="Each factor with random values dropped and the rest rescaled, then merged by elected signs."
    )

    factor_wise: ClassVar[bool] = True
    suggested: ClassVar[Mapping[str, float]] = _SUGGESTED

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """Drop at random, elect signs, average what agrees."""
        given = list(tensors)
        return elected_mean(given, weights, self.majority_sign_method, _thinning(given, self.density, keep))


class DareLinearSvd(PruningParameters, RandomParameters, SpaceParameters, SvdParameters):
    """DARE on the deltas, then the weighted sum, cut to a rank."""

    combination_type: Literal["dare_linear_svd"] = Field(
        description="The deltas with random values dropped and the rest rescaled, summed and cut to svd_rank."
    )

    suggested: ClassVar[Mapping[str, float]] = _SUGGESTED

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """Drop at random, then add."""
        given = list(tensors)
        return weighted_sum(given, weights, _thinning(given, self.density, keep))


class DareTiesSvd(PruningParameters, ElectionParameters, RandomParameters, SpaceParameters, SvdParameters):
    """DARE on the deltas, then signs elected as TIES does, cut to a rank."""

    combination_type: Literal["dare_ties_svd"] = Field(
        description="The deltas with random values dropped and the rest rescaled, merged by signs, cut to svd_rank."
    )

    suggested: ClassVar[Mapping[str, float]] = _SUGGESTED

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """Drop at random, elect signs, average what agrees."""
        given = list(tensors)
        return elected_mean(given, weights, self.majority_sign_method, _thinning(given, self.density, keep))


def _thinning(tensors: Sequence[Tensor], density: float, keep: Keep) -> Thinning | None:
    if density >= 1:
        return None
    return Thinning([keep(position, tensor, density) for position, tensor in enumerate(tensors)], density)
