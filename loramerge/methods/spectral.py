"""For the types that look at singular vectors, or at norms and angles alone: they mean the same in every basis.

They are computed on small matrices between orthonormal bases of all factors, where singular values, norms and inner
products are those of the dense deltas.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from loramerge.methods.svd_parameters import RankParameters

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.numerics.svd import Decomposition


def _ours(engine: object) -> object:
    if engine == "peft":
        raise PydanticCustomError(
            "inconsistent", "{what}", {"what": "PEFT has no such type; leave it out, or say `factored`"}
        )
    return engine


OwnEngine = Annotated[
    Literal["factored"],
    BeforeValidator(_ours),
    # A constant would tell the types apart, as `combination_type` does.
    WithJsonSchema({"enum": ["factored"], "type": "string"}),
]


class OwnParameters(RankParameters):
    """For the types that PEFT does not have."""

    engine: OwnEngine = Field("factored", description="What computes the merge: PEFT does not know the type.")

    in_peft: ClassVar[bool] = False
    suggested: ClassVar[Mapping[str, float | str]] = MappingProxyType({"svd_rank": "sum"})


class SpectralParameters(OwnParameters):
    """For the types that mean the same in every orthonormal basis."""

    @property
    def spectral(self) -> SpectralParameters | None:
        """These parameters."""
        return self

    @property
    def cut_said(self) -> str:
        """That a rank is kept, for `why_far`; empty where it is all there is."""
        return "" if self.svd_rank == "sum" else ", and cuts the result to a rank"

    @abstractmethod
    def merged_matrix(self, matrices: Sequence[Tensor], weights: Sequence[float]) -> Decomposition:
        """What the type makes of one matrix for each LoRA.

        Args:
            matrices: Of one shape, float64: the deltas, or what they are between orthonormal bases.
            weights: One for each.

        Returns:
            Triples whose sum is the result; the first ones are what a smaller rank keeps.
        """
