"""For the types that decompose what they combined: to which rank, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.errors import MismatchError
from loramerge.methods.method import Method
from loramerge.methods.rank import EnergyRank, SvdRank

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.numerics.svd import Decomposition

_MOST_CLAMPED = 1 << 24
"""Numbers that torch.quantile takes, by which PEFT clamps both factors together."""


class RankParameters(Method):
    """For the types whose result is decomposed, so that its largest singular values are kept."""

    svd_rank: SvdRank | None = Field(
        None,
        description="Rank of the result: a number; `sum` of the LoRAs' ranks in each module; `max`, their largest, "
        "which is the default; or what keeps a share of the energy in each module.",
    )

    decomposes: ClassVar[bool] = True

    @property
    def decomposition(self) -> RankParameters | None:
        """These parameters."""
        return self

    @property
    def most_by_peft(self) -> int | None:
        """How many numbers both factors may have where PEFT decomposes; None where that does not matter."""
        return None

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
        """Whether `engine: peft` leaves the decomposition to PEFT."""
        return False

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
        largest = min(len(found.left), found.right.shape[1]) if padded else len(found.values)
        rank = min(largest, most or largest)
        if isinstance(self.svd_rank, EnergyRank):
            rank = min(rank, found.rank_for(self.svd_rank.energy))
        up, down = self.limited(*found.truncated(rank))
        return up, down, found.retained(rank)

    def limited(self, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        """Both factors with what is to be done to them when they are cut: nothing."""
        return up, down


class SvdParameters(RankParameters):
    """For the types that PEFT decomposes: how it does so."""

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

    @property
    def decomposed_by_peft(self) -> bool:
        """Whether `engine: peft` leaves the decomposition to PEFT.

        Clamping depends on the signs of the singular vectors, which are as LAPACK leaves them there.
        """
        return self.svd_clamp is not None or self.svd_driver is not None

    @property
    def most_by_peft(self) -> int | None:
        """What it clamps."""
        return None if self.svd_clamp is None else _MOST_CLAMPED

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

    def limited(self, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        """Both factors, clamped where that is asked for."""
        import torch

        if self.svd_clamp is None:
            return up, down
        highest = _quantile(torch.cat([up.flatten(), down.flatten()]), self.svd_clamp)
        return up.clamp(-highest, highest), down.clamp(-highest, highest)


def _quantile(numbers: Tensor, share: float) -> float:
    """As torch.quantile has it, also of more numbers than that takes."""
    import torch

    if numbers.numel() <= _MOST_CLAMPED:
        return float(torch.quantile(numbers, share))
    place = share * (numbers.numel() - 1)
    below = int(place)
    lower, upper = (float(numbers.kthvalue(min(each, numbers.numel())).values) for each in (below + 1, below + 2))
    return lower + (upper - lower) * (place - below)
