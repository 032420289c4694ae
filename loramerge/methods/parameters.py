"""Parameters that several combination types share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from loramerge.fields import Density, Seed
from loramerge.methods.method import Method

if TYPE_CHECKING:
    from loramerge.numerics.spaces import SpaceName


class PruningParameters(Method):
    """For the types that drop a share of the values before they combine the rest."""

    density: Density


class ElectionParameters(Method):
    """For the types that elect a sign for each value."""

    sign_elected: ClassVar[bool] = True

    majority_sign_method: Literal["total", "frequency"] = Field(
        "total", description="Elect signs by the sum of the values (total) or by their number (frequency)."
    )


class RandomParameters(Method):
    """For the types that draw random numbers."""

    random: ClassVar[bool] = True

    seed: Seed = 0

    @property
    def masks_from(self) -> int | None:
        """The seed."""
        return self.seed


class SpaceParameters(Method):
    """For the types that combine value by value, and can do so in coordinates that all LoRAs share."""

    space: Literal["core", "knots", "ctm"] | None = Field(
        None,
        description="Combine the LoRAs in coordinates that they share. `core`: small matrices between orthonormal "
        "bases of all up and all down factors (arXiv:2509.17786). `knots`: the right factors of one singular value "
        "decomposition of all deltas side by side (arXiv:2410.19735). The rank of the result is the sum of the ranks, "
        "or svd_rank where the type has it. `ctm`: the two subspaces of the result's rank that hold most of all LoRAs "
        "(arXiv:2606.03723); that is svd_rank, or the largest rank. PEFT has no spaces: the engine is then `factored`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _computed_by_us(cls, data: Any) -> Any:
        """The engine that a space needs, where none is said."""
        if isinstance(data, dict) and data.get("space") is not None and "engine" not in data:
            return {**data, "engine": "factored"}
        return data

    @field_validator("space")
    @classmethod
    def _unknown_to_peft(cls, space: str | None, info: ValidationInfo) -> str | None:
        if space is not None and info.data.get("engine") == "peft":
            what = "PEFT combines LoRAs in no space of their own; leave out `engine: peft`, or say `engine: factored`"
            raise PydanticCustomError("inconsistent", "{what}", {"what": what})
        return space

    @property
    def chosen_space(self) -> SpaceName | None:
        """The space."""
        return self.space
