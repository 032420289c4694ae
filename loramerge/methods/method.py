"""What all combination types have in common, and the parameters that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from pydantic import Field

from loramerge.errors import MismatchError
from loramerge.fields import Density, Seed, StrictModel
from loramerge.methods.rank import EnergyRank, SvdRank
from loramerge.numerics.task_arithmetic import weighted_sum

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.numerics.svd import Decomposition

Keep = Callable[[int, "Tensor", float], "Tensor"]
"""(position of the LoRA, tensor, density) → which of its values DARE keeps."""


class Method(StrictModel):
    """How several adapters become one: one of PEFT's combination types, with the parameters that it uses.

    Attributes:
        factor_wise: `up` and `down` are combined apart from each other. Ranks must be equal, and the result is not
            the weighted sum of the deltas.
        concatenates: The factors are put side by side: the result is the weighted sum of the deltas, exactly.
        takes_one: A single LoRA means something to it: that LoRA times its weight, cut to a rank by the types that do.
        random: The result depends on `seed`.
        decomposes: The result is cut to a rank by a singular value decomposition.
        selects: Values are kept or dropped by how they compare with the others of their tensor.
        sums_deltas: What is decomposed is the weighted sum of the deltas itself, which stacked factors give as well.
        sign_elected: Values whose sign loses an election are dropped (Yadav et al., TIES, arXiv:2306.01708).
        summary: What a new recipe says of the type, in a comment.
        suggested: The parameters that a new recipe has: those that the type needs, and what is better said than left
            to its default.
    """

    combination_type: str = Field(description="PEFT's name for how the LoRAs become one.")
    engine: Literal["peft", "factored"] = Field(
        "peft",
        description="What computes the merge: PEFT's add_weighted_adapter, or the same from the factors alone, faster.",
    )

    factor_wise: ClassVar[bool] = False
    concatenates: ClassVar[bool] = False
    takes_one: ClassVar[bool] = False
    random: ClassVar[bool] = False
    decomposes: ClassVar[bool] = False
    selects: ClassVar[bool] = False
    sums_deltas: ClassVar[bool] = False
    sign_elected: ClassVar[bool] = False
    summary: ClassVar[str] = ""
    suggested: ClassVar[Mapping[str, float]] = MappingProxyType({})

    @classmethod
    def name(cls) -> str:
        """The `combination_type` that means it in a recipe."""
        (name,) = get_args(cls.model_fields["combination_type"].annotation)
        return str(name)

    @property
    def decomposition(self) -> SvdParameters | None:
        """How the combined delta is cut to a rank; None where it is not."""
        return None

    @property
    def masks_from(self) -> int | None:
        """Seed of the masks that are drawn; None where none are."""
        return None

    @property
    def why_far(self) -> str:
        """Why a merge of this type can be far from the weighted sum of the LoRAs."""
        if self.factor_wise:
            return f"`{self.combination_type}` combines up and down factors apart from each other"
        return f"`{self.combination_type}` drops values by design, and cuts the result to a rank"

    def peft_arguments(self, ranks: Sequence[int] = ()) -> dict[str, object]:
        """The keyword arguments of PEFT's `add_weighted_adapter` that say how to combine.

        Args:
            ranks: The largest of each LoRA in the component; where they are unknown, `svd_rank` is as it was given.
        """
        del ranks
        return self.model_dump(exclude={"engine", "seed"})

    def check_device(self, device: str) -> None:
        """Refuse a parameter that means nothing where the merge is computed.

        Args:
            device: `cpu` or `cuda`.

        Raises:
            MismatchError: It means nothing there.
        """
        del device

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """What the type makes of one tensor per LoRA: factors for the types that are `factor_wise`, else deltas.

        Args:
            tensors: Of one shape; none is changed. Each is asked for when the one before it has been pruned.
            weights: One for each.
            keep: Draws DARE's masks.
        """
        del keep
        return weighted_sum(list(tensors), weights)


class SvdParameters(Method):
    """For the types that decompose the combined delta and keep its largest singular values."""

    svd_rank: SvdRank | None = Field(
        None,
        description="Rank of the result: a number; `sum` of the LoRAs' ranks in each module; `max`, their largest, "
        "which is the default; or what keeps a share of the energy in each module.",
    )
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

    decomposes: ClassVar[bool] = True

    @property
    def decomposition(self) -> SvdParameters | None:
        """These parameters."""
        return self

    @property
    def by_energy(self) -> bool:
        """Whether the rank of a module is known only when it is decomposed."""
        return isinstance(self.svd_rank, EnergyRank)

    @property
    def is_one_rank(self) -> bool:
        """Whether the recipe gives one number for all modules."""
        return isinstance(self.svd_rank, int)

    @property
    def decomposed_by_peft(self) -> bool:
        """Whether `engine: peft` leaves the decomposition to PEFT.

        Clamping depends on the signs of the singular vectors, which are as LAPACK leaves them there.
        """
        return self.svd_clamp is not None or self.svd_driver is not None

    def peft_arguments(self, ranks: Sequence[int] = ()) -> dict[str, object]:
        """Also the rank: one for all modules is all that PEFT knows, so there is room enough for each."""
        rank = {"svd_rank": self.most(ranks, max(ranks))} if ranks else {}
        return super().peft_arguments(ranks) | rank

    def check_device(self, device: str) -> None:
        """Refuse a driver of cuSOLVER where it has no part in the merge.

        Raises:
            MismatchError: It has none.
        """
        if self.svd_driver and self.engine != "peft":
            raise MismatchError(
                "svd_driver chooses cuSOLVER's method in PEFT's merge; `engine: factored` has no use for it",
                hint="drop svd_driver",
            )
        if self.svd_driver and device == "cpu":
            raise MismatchError(
                "svd_driver chooses cuSOLVER's method and needs CUDA", hint="drop svd_driver on the CPU"
            )

    def most(self, ranks: Sequence[int], largest: int) -> int | None:
        """The rank that a module is cut to, or the most that it may get; None where nothing limits it.

        Args:
            ranks: Of the LoRAs that touch the module.
            largest: Of all ranks in the component: what PEFT takes where nothing is said.
        """
        match self.svd_rank:
            case EnergyRank():
                return self.svd_rank.max
            case int():
                return self.svd_rank
            case "sum":
                return sum(ranks)
        return largest

    def cut(self, found: Decomposition, most: int | None, *, padded: bool = True) -> tuple[Tensor, Tensor, float]:
        """(up, down, share of the energy that was kept) at the rank of the result, in float64.

        Args:
            found: The module's decomposition, to `most` triples where it has so many.
            most: From `most`.
            padded: Up to that rank with zeros where there are fewer triples, as PEFT has it.
        """
        import torch

        largest = min(len(found.left), found.right.shape[1]) if padded else len(found.values)
        rank = min(largest, most or largest)
        if isinstance(self.svd_rank, EnergyRank):
            rank = min(rank, found.rank_for(self.svd_rank.energy))
        up, down = found.truncated(rank)
        if self.svd_clamp is not None:
            highest = float(torch.quantile(torch.cat([up.flatten(), down.flatten()]), self.svd_clamp))
            up, down = (tensor.clamp(-highest, highest) for tensor in (up, down))
        return up, down, found.retained(rank)


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
