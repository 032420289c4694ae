"""How much two LoRAs have to do with each other, module by module, from their factors alone.

Three measures of two deltas Δa and Δb, each times its weight:

- cosine: ⟨Δa, Δb⟩ / (‖Δa‖ ‖Δb‖). 1: the same direction; 0: unrelated, as LoRAs that were trained apart are; -1: one
  undoes the other.
- subspace overlap: ‖Qaᵀ Qb‖² / min(ra, rb), where Q is an orthonormal basis of the delta's columns (what it can write)
  or of its rows (what it reads) and r its rank: the mean squared cosine of the principal angles, φ of Hu et al.
  (LoRA, arXiv:2106.09685, section 7.2) at full rank. 0: nothing in common; 1: one lies within the other.
- sign conflict: the share of Σ |Δa∘Δb| that lies where the signs differ. 0: they agree wherever both do something;
  0.5: unrelated; 1: they disagree everywhere. What differs from zero where is not to be had from factors without the
  dense delta, so it is taken from some rows and columns of each module, which depend on its shape alone.

Of several modules, the sums above and below the line are summed up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from itertools import combinations
from typing import TYPE_CHECKING

from loramerge.numerics.blocks import products_of
from loramerge.numerics.norms import inner_product

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import LowRank

ROWS, COLUMNS = 128, 512
"""How many of a delta's rows and columns the signs are taken from; smaller ones are taken whole."""
_FLOOR = 1e-12
"""Share of the energy that factors could have, below which a direction is rounding."""


@dataclass(frozen=True)
class Overlap:
    """What two LoRAs share, as sums over the modules that both touch.

    Attributes:
        modules: How many.
        sampled: In how many of them signs were taken from some rows and columns.
        product: Σ ⟨Δa, Δb⟩.
        energy: Σ ‖Δa‖².
        other_energy: Σ ‖Δb‖².
        columns: Σ ‖Qaᵀ Qb‖² of the column spaces.
        rows: The same of the row spaces.
        dimensions: Σ min(ra, rb).
        agreeing: Σ |Δa∘Δb| where the signs agree, scaled up where a part was looked at.
        differing: The same where they differ.
    """

    modules: int = 0
    sampled: int = 0
    product: float = 0.0
    energy: float = 0.0
    other_energy: float = 0.0
    columns: float = 0.0
    rows: float = 0.0
    dimensions: int = 0
    agreeing: float = 0.0
    differing: float = 0.0

    @property
    def cosine(self) -> float | None:
        """From -1 to 1; None where one of them is zero."""
        size = math.sqrt(self.energy) * math.sqrt(self.other_energy)
        return min(max(self.product / size, -1.0), 1.0) if size > 0 else None

    @property
    def column_overlap(self) -> float | None:
        """From 0 to 1, of what they write; None where one of them is zero."""
        return min(self.columns / self.dimensions, 1.0) if self.dimensions else None

    @property
    def row_overlap(self) -> float | None:
        """From 0 to 1, of what they read; None where one of them is zero."""
        return min(self.rows / self.dimensions, 1.0) if self.dimensions else None

    @property
    def sign_conflict(self) -> float | None:
        """From 0 to 1; None where they nowhere meet."""
        both = self.agreeing + self.differing
        return self.differing / both if both > 0 else None


def summed(overlaps: Iterable[Overlap]) -> Overlap:
    """The overlap of several modules together."""
    listed = list(overlaps)
    return Overlap(**{each.name: sum(getattr(overlap, each.name) for overlap in listed) for each in fields(Overlap)})


@dataclass(frozen=True)
class Delta:
    """One LoRA in one module.

    Attributes:
        pair: In memory.
        weight: Of the LoRA there.
    """

    pair: LowRank
    weight: float

    @classmethod
    def of(cls, pair: LowRank, weight: float) -> Delta:
        """A pair times its weight."""
        return cls(pair.loaded(), weight)

    @cached_property
    def up(self) -> Tensor:
        """out×r, in float64."""
        return self.pair.up.flatten(1).double()

    @cached_property
    def down(self) -> Tensor:
        """r×in, all of the kernel in a row, in float64."""
        return self.pair.down.flatten(1).double()

    @property
    def factor(self) -> float:
        """Scale times weight."""
        return self.weight * self.pair.scale

    @property
    def size(self) -> tuple[int, int]:
        """Of the delta as a matrix, out×in."""
        return self.pair.shape[0], math.prod(self.pair.shape[1:])

    def sampled(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Some rows and columns of the delta without its factor, in float64."""
        if self.pair.is_dense:
            return self.pair.matrix()[rows][:, columns].double()
        return self.up[rows] @ self.down[:, columns]


@dataclass(frozen=True)
class Spaces:
    """What a delta writes and reads.

    Attributes:
        columns: r×k; up @ columns is an orthonormal basis of the delta's columns.
        rows: r×k; downᵀ @ rows is one of its rows.
        energy: ‖up @ down‖², 0 where it is rounding.
    """

    columns: Tensor
    rows: Tensor
    energy: float


def compare(deltas: Mapping[str, Delta]) -> Iterator[tuple[tuple[str, str], Overlap]]:
    """Compare every pair of what LoRAs do in one module; those of different shapes can't be, and are passed over.

    Args:
        deltas: Name of the LoRA → what it does there.
    """
    spaces = {name: spaces_of(delta) for name, delta in deltas.items() if not delta.pair.is_dense}
    for names in combinations(deltas, 2):
        one, other = (deltas[name] for name in names)
        if one.size == other.size:
            known = [spaces[name] for name in names if name in spaces]
            yield names, _overlap(one, other, *known) if len(known) == len(names) else _overlap_of_rows(one, other)


def spaces_of(delta: Delta) -> Spaces:
    """From the r×r Gram matrices: with down·downᵀ = L·Lᵀ, the delta's columns are those of up·L."""
    import torch

    ups, downs = delta.up.T @ delta.up, delta.down @ delta.down.T
    possible = float(ups.trace() * downs.trace())
    values, vectors = torch.linalg.eigh(downs)
    root = vectors * values.clamp(min=0).sqrt()
    squares, turned = torch.linalg.eigh(root.T @ ups @ root)
    kept = squares > _FLOOR * possible
    sizes = squares[kept].sqrt()
    columns = root @ turned[:, kept] / sizes
    return Spaces(columns, ups @ columns / sizes, float(squares[kept].sum()))


def _overlap(one: Delta, other: Delta, spaces: Spaces, others: Spaces) -> Overlap:
    ups, downs = one.up.T @ other.up, one.down @ other.down.T
    factor = one.factor * other.factor
    agreeing, differing, sampled = _signs(one, other)
    if factor < 0:
        agreeing, differing = differing, agreeing
    return Overlap(
        modules=1,
        sampled=int(sampled),
        product=factor * inner_product(ups, downs),
        energy=one.factor**2 * spaces.energy,
        other_energy=other.factor**2 * others.energy,
        columns=float((spaces.columns.T @ ups @ others.columns).square().sum()),
        rows=float((spaces.rows.T @ downs @ others.rows).square().sum()),
        dimensions=min(spaces.columns.shape[1], others.columns.shape[1]),
        agreeing=abs(factor) * agreeing,
        differing=abs(factor) * differing,
    )


def _overlap_of_rows(one: Delta, other: Delta) -> Overlap:
    """Where a delta has no factors worth having, it writes and reads everything: its spaces say nothing."""
    products = products_of([one.pair, other.pair], [one.weight, other.weight])
    agreeing, differing, sampled = _signs(one, other)
    factor = one.factor * other.factor
    if factor < 0:
        agreeing, differing = differing, agreeing
    return Overlap(
        modules=1,
        sampled=int(sampled),
        product=float(products[0, 1]),
        energy=float(products[0, 0]),
        other_energy=float(products[1, 1]),
        agreeing=abs(factor) * agreeing,
        differing=abs(factor) * differing,
    )


def _signs(one: Delta, other: Delta) -> tuple[float, float, bool]:
    """Σ |Δa∘Δb| where signs agree and where they differ, both without their factors; and whether a part was taken."""
    height, width = one.size
    rows, columns = _some(height, ROWS), _some(width, COLUMNS)
    product = one.sampled(rows, columns) * other.sampled(rows, columns)
    scale = height * width / product.numel()
    agreeing, differing = float(product.clamp(min=0).sum()), -float(product.clamp(max=0).sum())
    return scale * agreeing, scale * differing, scale > 1


@cache
def _some(size: int, most: int) -> Tensor:
    """Where to look: everywhere, or at `most` places, the same for every size."""
    import torch

    if size <= most:
        return torch.arange(size)
    return torch.randperm(size, generator=torch.Generator().manual_seed(0))[:most].sort().values
