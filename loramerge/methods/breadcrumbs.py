"""`breadcrumbs`: neither the smallest values nor the largest (Davari and Belilovsky, arXiv:2312.06795)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from loramerge.methods.parameters import PruningParameters, SpaceParameters
from loramerge.methods.spectral import OwnParameters
from loramerge.numerics.magnitude import without_tails
from loramerge.numerics.task_arithmetic import weighted_sum

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.methods.method import Keep


class Breadcrumbs(OwnParameters, PruningParameters, SpaceParameters):
    """Cuts both ends off the magnitudes of each delta, then adds what is left, times the weights."""

    combination_type: Literal["breadcrumbs"] = Field(
        description="Model Breadcrumbs: each delta without its largest and its smallest values, summed and cut to "
        "svd_rank."
    )
    gamma: float = Field(
        0.01,
        ge=0,
        lt=1,
        validate_default=True,
        description="Share of the values that is dropped because they are the largest; of the others the largest are "
        "kept, as many as density says.",
    )

    selects: ClassVar[bool] = True
    suggested: ClassVar[Mapping[str, float | str]] = MappingProxyType({"density": 0.5})

    @field_validator("gamma")
    @classmethod
    def _leaves_room(cls, gamma: float, info: ValidationInfo) -> float:
        density = info.data.get("density")
        if density is not None and density + gamma > 1 + 1e-12:
            what = f"density {density:g} leaves {1 - density:g} of the values to drop, and gamma is {gamma:g}"
            raise PydanticCustomError("inconsistent", "{what}", {"what": what})
        return gamma

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """Cut both tails, then add."""
        del keep
        return weighted_sum([without_tails(tensor, self.density, self.gamma) for tensor in tensors], weights)
