"""`ties` and `ties_svd`: trim, elect signs, merge disjointly (Yadav et al., arXiv:2306.01708)."""

from typing import ClassVar, Literal

from pydantic import Field

from loramerge.methods.method import ElectionParameters, Method, PruningParameters, SvdParameters


class Ties(Method, PruningParameters, ElectionParameters):
    """TIES on each factor."""

    combination_type: Literal["ties"] = Field(
        description="TIES on each factor: keep the largest values, elect signs, average those that agree."
    )

    factor_wise: ClassVar[bool] = True
    sign_elected: ClassVar[bool] = True


class TiesSvd(Method, PruningParameters, ElectionParameters, SvdParameters):
    """TIES on the deltas, cut to a rank."""

    combination_type: Literal["ties_svd"] = Field(description="TIES on the deltas, cut to svd_rank.")

    decomposes: ClassVar[bool] = True
    sign_elected: ClassVar[bool] = True
