"""`linear`: the weighted sum of each factor."""

from typing import ClassVar, Literal

from pydantic import Field

from loramerge.methods.parameters import SpaceParameters


class Linear(SpaceParameters):
    """Adds the `down` factors and the `up` factors, which does not add the deltas."""

    combination_type: Literal["linear"] = Field(
        description="Each factor summed by itself; needs equal ranks, and is far from the sum of the deltas."
    )

    factor_wise: ClassVar[bool] = True
    takes_one: ClassVar[bool] = True
    summary: ClassVar[str] = "combines up and down apart from each other: not the weighted sum; needs equal ranks"
