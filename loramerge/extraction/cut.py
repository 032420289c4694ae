"""To which rank a difference is cut: one number, one for each component, or what a share of its energy takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError
from loramerge.messages import any_of, some
from loramerge.numerics.nearest import nearest, nearest_by_energy

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.bases.base import Base
    from loramerge.numerics.svd import Decomposition


@dataclass(frozen=True)
class Cut:
    """How large a LoRA becomes.

    Attributes:
        rank: Of every module, or by component; components that are not named are left out. Where there is an energy,
            the most that a module gets; None for no limit.
        energy: Share of each module's squared norm that is kept, with as small a rank as that takes.
        parameters: Norms, biases and the like are kept as they differ.
    """

    rank: int | Mapping[str, int] | None = None
    energy: float | None = None
    parameters: bool = False

    def check(self, base: Base) -> None:
        """Go on only if a base has the components that are named.

        Raises:
            MismatchError: It lacks one.
        """
        named = self.rank if isinstance(self.rank, Mapping) else {}
        if unknown := [name for name in named if name not in base.components]:
            raise MismatchError(
                f"{base.reference} has no {some(unknown)}, for which a rank is given",
                hint=f"name {any_of(base.components)}",
            )

    def wants(self, component: str) -> bool:
        """Whether a component takes part."""
        return not isinstance(self.rank, Mapping) or component in self.rank

    def decomposed(self, matrix: Tensor, component: str) -> Decomposition:
        """The triples of a difference that are kept.

        Args:
            matrix: out×in, float32, finite.
            component: One that takes part.
        """
        rank = self.rank[component] if isinstance(self.rank, Mapping) else self.rank
        if self.energy is not None:
            return nearest_by_energy(matrix, self.energy, rank)
        return nearest(matrix, rank or min(matrix.shape))

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from others."""
        named = tuple(sorted(self.rank.items())) if isinstance(self.rank, Mapping) else self.rank
        return named, self.energy, self.parameters
