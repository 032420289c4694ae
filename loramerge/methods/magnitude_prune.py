"""`magnitude_prune` and `magnitude_prune_svd`: keep the largest values, then sum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.methods.parameters import PruningParameters, SpaceParameters
from loramerge.methods.svd_parameters import SvdParameters
from loramerge.numerics.magnitude import keep_largest
from loramerge.numerics.task_arithmetic import weighted_sum

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.methods.method import Keep

_SUGGESTED = MappingProxyType({"density": 0.5})


class MagnitudePrune(PruningParameters, SpaceParameters):
    """Keeps the largest values of each factor, then adds them."""

    combination_type: Literal["magnitude_prune"] = Field(
        description="The largest values of each factor, summed; needs equal ranks."
    )

    factor_wise: ClassVar[bool] = True
    selects: ClassVar[bool] = True
    suggested: ClassVar[Mapping[str, float]] = _SUGGESTED

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """Prune by magnitude, then add."""
        del keep
        return weighted_sum([keep_largest(tensor, self.density) for tensor in tensors], weights)


class MagnitudePruneSvd(PruningParameters, SpaceParameters, SvdParameters):
    """Keeps the largest values of each delta, then adds them, cut to a rank."""

    combination_type: Literal["magnitude_prune_svd"] = Field(
        description="The largest values of each delta, summed and cut to svd_rank."
    )

    selects: ClassVar[bool] = True
    suggested: ClassVar[Mapping[str, float]] = _SUGGESTED

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """Prune by magnitude, then add."""
        del keep
        return weighted_sum([keep_largest(tensor, self.density) for tensor in tensors], weights)
