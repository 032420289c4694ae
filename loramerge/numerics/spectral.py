"""What rules on singular vectors need: decompositions without what is only rounding, and nearest orthonormal sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from loramerge.numerics.svd import Decomposition

if TYPE_CHECKING:
    from torch import Tensor

NOTHING = 1e-7
"""Singular values below this share of the largest are none: float32 rounds factors to no more."""


def decomposed(matrix: Tensor, beside: Sequence[Tensor] = ()) -> Decomposition:
    """All singular triples of a small matrix that are more than rounding, in float64.

    Args:
        matrix: Of any two sizes, float64.
        beside: What it was computed from; where terms cancel, rounding of theirs is left.

    Returns:
        As many triples as the matrix has rank: none for one of zeros.
    """
    import torch

    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    sizes = [float(each.norm()) for each in beside] + values[:1].tolist()
    rank = int((values > NOTHING * max(sizes, default=0.0)).sum())
    return Decomposition(left[:, :rank], values[:rank], right[:rank], float(values.square().sum()))


def polar_factor(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthonormal columns, U·Vᵀ of a decomposition U·Σ·Vᵀ, in float64.

    Columns that depend on each other have none; what they span is then an isometry's image all the same.

    Args:
        matrix: Of any two sizes, float64.
    """
    found = decomposed(matrix)
    return found.left @ found.right


def summed(matrices: Sequence[Tensor]) -> Tensor:
    """Their sum."""
    import torch

    return torch.stack(list(matrices)).sum(0)


def joined(found: Sequence[Decomposition], values: Tensor) -> Decomposition:
    """Singular vectors of several matrices, side by side and made orthonormal, with new values.

    Args:
        found: Of matrices of one shape.
        values: One for each triple of all of them, in their order.

    Returns:
        Triples in that order; they are no singular ones where there are more than the matrix has rows or columns.
    """
    import torch

    left = polar_factor(torch.cat([each.left for each in found], 1))
    right = polar_factor(torch.cat([each.right for each in found]).mT).mT
    return Decomposition(left, values, right, float(values.square().sum()))


def evened(found: Decomposition) -> Decomposition:
    """The same with every value set to the mean of all; their order stays, and says what a smaller rank keeps."""
    import torch

    values = torch.full_like(found.values, float(found.values.mean()) if len(found.values) else 0.0)
    return Decomposition(found.left, values, found.right, float(values.square().sum()))
