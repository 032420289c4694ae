"""`magnitude_prune` and `magnitude_prune_svd`: keep the largest values, then sum."""

from typing import ClassVar, Literal

from pydantic import Field

from loramerge.methods.method import Method, PruningParameters, SvdParameters


class MagnitudePrune(Method, PruningParameters):
    """Keeps the largest values of each factor, then adds them."""

    combination_type: Literal["magnitude_prune"] = Field(
        description="The largest values of each factor, summed; needs equal ranks."
    )

    factor_wise: ClassVar[bool] = True


class MagnitudePruneSvd(Method, PruningParameters, SvdParameters):
    """Keeps the largest values of each delta, then adds them, cut to a rank."""

    combination_type: Literal["magnitude_prune_svd"] = Field(
        description="The largest values of each delta, summed and cut to svd_rank."
    )

    decomposes: ClassVar[bool] = True
