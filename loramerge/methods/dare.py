"""The four `dare_*` types: drop values at random and rescale the rest (Yu et al., DARE, arXiv:2311.03099)."""

from typing import ClassVar, Literal

from pydantic import Field

from loramerge.methods.method import ElectionParameters, Method, PruningParameters, RandomParameters, SvdParameters


class DareLinear(Method, PruningParameters, RandomParameters):
    """DARE on each factor, then the weighted sum."""

    combination_type: Literal["dare_linear"] = Field(
        description="Each factor with random values dropped and the rest rescaled, then summed."
    )

    factor_wise: ClassVar[bool] = True
    random: ClassVar[bool] = True


class DareTies(Method, PruningParameters, ElectionParameters, RandomParameters):
    """DARE on each factor, then signs elected as TIES does."""

    combination_type: Literal["dare_ties"] = Field(
        description="Each factor with random values dropped and the rest rescaled, then merged by elected signs."
    )

    factor_wise: ClassVar[bool] = True
    random: ClassVar[bool] = True
    sign_elected: ClassVar[bool] = True


class DareLinearSvd(Method, PruningParameters, RandomParameters, SvdParameters):
    """DARE on the deltas, then the weighted sum, cut to a rank."""

    combination_type: Literal["dare_linear_svd"] = Field(
        description="The deltas with random values dropped and the rest rescaled, summed and cut to svd_rank."
    )

    random: ClassVar[bool] = True
    decomposes: ClassVar[bool] = True


class DareTiesSvd(Method, PruningParameters, ElectionParameters, RandomParameters, SvdParameters):
    """DARE on the deltas, then signs elected as TIES does, cut to a rank."""

    combination_type: Literal["dare_ties_svd"] = Field(
        description="The deltas with random values dropped and the rest rescaled, merged by signs, cut to svd_rank."
    )

    random: ClassVar[bool] = True
    decomposes: ClassVar[bool] = True
    sign_elected: ClassVar[bool] = True
