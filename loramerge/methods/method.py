"""What all combination types have in common, and the parameters that several of them share."""

from typing import ClassVar, Literal

from pydantic import Field

from loramerge.fields import Density, Rank, Seed, StrictModel


class Method(StrictModel):
    """How several adapters become one: one of PEFT's combination types, with the parameters that it uses.

    Attributes:
        factor_wise: `up` and `down` are combined apart from each other. Ranks must be equal, and the result is not
            the weighted sum of the deltas.
        concatenates: The factors are put side by side: the result is the weighted sum of the deltas, exactly.
        takes_one: A single LoRA means something to it: that LoRA times its weight.
        random: The result depends on `seed`.
        decomposes: The result is cut to a rank by a singular value decomposition.
        sign_elected: Values whose sign loses an election are dropped (Yadav et al., TIES, arXiv:2306.01708).
    """

    combination_type: str = Field(description="PEFT's name for how the LoRAs become one.")
    engine: Literal["peft"] = Field("peft", description="What computes the merge; `peft` is add_weighted_adapter.")

    factor_wise: ClassVar[bool] = False
    concatenates: ClassVar[bool] = False
    takes_one: ClassVar[bool] = False
    random: ClassVar[bool] = False
    decomposes: ClassVar[bool] = False
    sign_elected: ClassVar[bool] = False

    def peft_arguments(self) -> dict[str, object]:
        """The keyword arguments of PEFT's `add_weighted_adapter` that say how to combine."""
        return self.model_dump(exclude={"engine", "seed"})


class SvdParameters(StrictModel):
    """For the types that decompose the combined delta and keep its largest singular values."""

    svd_rank: Rank | None = Field(None, description="Rank of the result; the largest rank of the LoRAs if absent.")
    svd_clamp: float | None = Field(
        None, gt=0, le=1, description="Quantile at which the values of both factors are clamped; no clamping if absent."
    )
    svd_full_matrices: bool = Field(
        default=False,
        description="Compute the full decomposition. PEFT's own default is true: the same result, more slowly.",
    )
    svd_driver: Literal["gesvd", "gesvdj", "gesvda"] | None = Field(
        None, description="cuSOLVER's method, for merges on CUDA; torch chooses if absent."
    )


class PruningParameters(StrictModel):
    """For the types that drop a share of the values before they combine the rest."""

    density: Density


class ElectionParameters(StrictModel):
    """For the types that elect a sign for each value."""

    majority_sign_method: Literal["total", "frequency"] = Field(
        "total", description="Elect signs by the sum of the values (total) or by their number (frequency)."
    )


class RandomParameters(StrictModel):
    """For the types that draw random numbers."""

    seed: Seed = 0
