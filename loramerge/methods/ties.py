"""`ties` and `ties_svd`: trim, elect signs, merge disjointly (Yadav et al., arXiv:2306.01708)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.methods.parameters import ElectionParameters, PruningParameters, SpaceParameters
from loramerge.methods.svd_parameters import SvdParameters
from loramerge.numerics.magnitude import keep_largest
from loramerge.numerics.task_arithmetic import elected_mean

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.methods.method import Keep

_SUGGESTED = MappingProxyType({"density": 0.5})


class Ties(PruningParameters, ElectionParameters, SpaceParameters):
    """TIES on each factor."""

    combination_type: Literal["ties"] = Field(
        description="TIES on each factor: keep the largest values, elect signs, average those that agree."
    )

    factor_wise: ClassVar[bool] = True
    selects: ClassVar[bool] = True
    suggested: ClassVar[Mapping[str, float]] = _SUGGESTED

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """Prune by magnitude, elect signs, average what agrees."""
        del keep
        kept = [keep_largest(tensor, self.density) for tensor in tensors]
        return elected_mean(kept, weights, self.majority_sign_method)


class TiesSvd(PruningParameters, ElectionParameters, SpaceParameters, SvdParameters):
    """TIES on the deltas, cut to a rank."""

    combination_type: Literal["ties_svd"] = Field(description="TIES on the deltas, cut to svd_rank.")

    selects: ClassVar[bool] = True
    suggested: ClassVar[Mapping[str, float]] = _SUGGESTED

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """Prune by magnitude, elect signs, average what agrees."""
        del keep
        kept = [keep_largest(tensor, self.density) for tensor in tensors]
        return elected_mean(kept, weights, self.majority_sign_method)
