"""`svd`: the weighted sum of the deltas, cut to a rank."""

from typing import ClassVar, Literal

from pydantic import Field

from loramerge.methods.svd_parameters import SvdParameters


class Svd(SvdParameters):
    """Adds the deltas and keeps the largest singular values (Eckart-Young)."""

    combination_type: Literal["svd"] = Field(
        description="The weighted sum of the deltas, cut to svd_rank; exact when that is the sum of the ranks."
    )

    sums_deltas: ClassVar[bool] = True
    takes_one: ClassVar[bool] = True
    summary: ClassVar[str] = "cut to the largest rank; svd_rank sets another, and the sum of the ranks is exact"

    @property
    def why_far(self) -> str:
        """A rank is all that it lacks."""
        return "its rank is too small for all that goes in"
