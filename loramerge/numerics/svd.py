"""Singular value decompositions of deltas: exact, in float64, with signs that do not depend on who computes them.

Every function here expects to run on one thread: libraries round differently on several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.numerics.gram import energy_of
from loramerge.numerics.subspace import leading

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from loramerge.adapter import LowRank

    _Triples = tuple[Tensor, Tensor, Tensor, Tensor]

_CANCELLED = 1e7  # times less energy than the factors could have: its rounding grows to 1e-9
_CONDITION = 1e6  # of a Gram matrix: its rounding grows to 1e-10, far below that of float32


@dataclass(frozen=True)
class Decomposition:
    """The largest singular triples of a matrix, in float64.

    Attributes:
        left: out×k, orthonormal columns where the value is not zero; the largest entry of each is positive.
        values: The k singular values, falling.
        right: k×in.
        energy: Squared Frobenius norm of the whole matrix.
    """

    left: Tensor
    values: Tensor
    right: Tensor
    energy: float

    def truncated(self, rank: int) -> tuple[Tensor, Tensor]:
        """(up, down) of the best approximation of that rank (Eckart-Young), float64: up has the singular values.

        Args:
            rank: Columns beyond the triples that there are come out as zeros.
        """
        up, down = self.left[:, :rank] * self.values[:rank], self.right[:rank]
        missing = rank - len(self.values)
        if missing > 0:
            up, down = up.new_zeros(len(up), rank), down.new_zeros(rank, down.shape[1])
            up[:, : len(self.values)], down[: len(self.values)] = self.left * self.values, self.right
        return up, down

    def rank_for(self, energy: float) -> int:
        """The smallest rank that keeps this share of the energy; all triples where they do not keep so much."""
        kept = self.values.square().cumsum(0)
        enough = (kept >= energy * self.energy * (1 - 1e-12)).nonzero()
        return int(enough[0]) + 1 if len(enough) else len(self.values)

    def first(self, count: int) -> Decomposition:
        """The same with fewer triples."""
        return Decomposition(self.left[:, :count], self.values[:count], self.right[:count], self.energy)

    def retained(self, rank: int) -> float:
        """The share of the energy that a rank keeps; 1 for a matrix of zeros."""
        kept = float(self.values[:rank].square().sum())
        return min(kept / self.energy, 1.0) if self.energy > 0 else 1.0


def stacked(
    pairs: Sequence[LowRank], weights: Sequence[float], device: str | torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """(up, down) in float64 whose product is the weighted sum of the pairs' deltas.

    Args:
        pairs: Of one module.
        weights: One for each.
        device: Where the result is wanted; where the pairs are by default.
    """
    import torch

    ranks, width = [pair.rank for pair in pairs], pairs[0].down[0].numel()
    up = torch.empty(len(pairs[0].up), sum(ranks), dtype=torch.float64, device=device or pairs[0].up.device)
    down = torch.empty(sum(ranks), width, dtype=torch.float64, device=up.device)
    columns, rows = torch.split(up, ranks, 1), torch.split(down, ranks)
    for pair, weight, column, row in zip(pairs, weights, columns, rows, strict=True):
        column.copy_(pair.up.flatten(1)).mul_(weight * pair.scale)
        row.copy_(pair.down.flatten(1))
    return up, down


def of_product(up: Tensor, down: Tensor, rank: int | None = None) -> Decomposition:
    """Decompose up @ down without forming it, from the Gram matrices of both.

    In float64, as two LoRAs that nearly cancel lose their difference in float32; where they lose too much in the
    squares of float64 as well, by an orthonormal basis of each and the SVD of the small core between.

    Args:
        up: out×r, float64.
        down: r×in, float64.
        rank: How many triples are wanted; all by default.

    Returns:
        min(rank, out, r, in) triples.
    """
    left, values, right, energy = _triples(up, down, rank)
    return with_signs(left, values, right, float(energy))


def of_products(up: Tensor, down: Tensor, rank: int | None = None) -> list[Decomposition]:
    """The same for many matrices of one shape at once, which is what devices other than the CPU are fast at.

    Args:
        up: n×out×r, float64.
        down: n×r×in, float64.
        rank: As above.
    """
    return [
        with_signs(left, values, right, float(energy))
        for left, values, right, energy in zip(*_triples(up, down, rank), strict=True)
    ]


def _triples(up: Tensor, down: Tensor, rank: int | None) -> _Triples:
    """Left vectors, values, right vectors and energy, of one product or of many."""
    import torch

    ups, downs = up.mT @ up, down @ down.mT
    found = _by_root(up, down, ups, downs, rank)
    if found:
        return found
    left, right = _basis(up, ups), _basis(down.mT, downs)
    outer, values, inner = torch.linalg.svd(left.core @ right.core.mT, full_matrices=False)
    wanted = slice(rank)
    return (
        left.columns @ (left.mix @ outer[..., wanted]),
        values[..., wanted],
        (inner[..., wanted, :] @ right.mix.mT) @ right.columns.mT,
        values.square().sum(-1),
    )


def _by_root(up: Tensor, down: Tensor, ups: Tensor, downs: Tensor, rank: int | None) -> _Triples | None:
    """By one small eigenproblem; None where squares lose digits that count.

    With down·downᵀ = L·Lᵀ, the product has the left vectors and values of up·L.

    Args:
        up: As above.
        down: As above.
        ups: upᵀ·up.
        downs: down·downᵀ.
        rank: As above.
    """
    import torch

    root, failed = torch.linalg.cholesky_ex(downs)
    if bool(failed.any()):
        return None
    squares, turn = torch.linalg.eigh(root.mT @ ups @ root)
    wanted, turn = squares.flip(-1)[..., :rank], turn.flip(-1)[..., :rank]
    possible = _trace(ups) * _trace(downs)
    if not bool((wanted[..., -1] * _CANCELLED > possible).all()):
        return None
    values, mix = wanted.sqrt(), root @ turn
    left = up @ (mix / values[..., None, :])
    right = ((mix / wanted[..., None, :]).mT @ ups) @ down
    return left, values, right, squares.sum(-1)


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)


@dataclass(frozen=True)
class _Basis:
    """A tall matrix as `columns @ mix @ core`, where `columns @ mix` is orthonormal."""

    columns: Tensor
    mix: Tensor
    core: Tensor


def _basis(tall: Tensor, gram: Tensor) -> _Basis:
    """From the Gram matrix of the normalised columns where that loses no digit that counts, else by QR."""
    import torch

    norms = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    if bool((norms > 0).all()):
        values, vectors = torch.linalg.eigh(gram / (norms[..., :, None] * norms[..., None, :]))
        if bool((values[..., 0] * _CONDITION > values[..., -1]).all()):
            roots = values.sqrt()[..., None, :]
            return _Basis(tall, vectors / roots / norms[..., :, None], (vectors * roots).mT * norms[..., None, :])
    columns, core = torch.linalg.qr(tall)
    return _Basis(columns, torch.eye(columns.shape[-1], dtype=tall.dtype, device=tall.device), core)


def of_matrix(matrix: Tensor, rank: int | None = None, near: tuple[Tensor, Tensor] | None = None) -> Decomposition:
    """Decompose a dense matrix by the eigenvectors of its smaller Gram matrix.

    Squaring costs what lies below 1e-8 of the largest singular value, and that is below float32's rounding of it.

    Args:
        matrix: out×in, any floating-point format.
        rank: How many triples are wanted; all by default.
        near: (up, down), whose product the matrix resembles: it shortens the search.

    Returns:
        min(rank, out, in) triples.
    """
    wide = matrix.shape[0] < matrix.shape[1]
    tall = matrix.mT if wide else matrix
    count = min(rank or tall.shape[1], tall.shape[1])
    left, values, right = leading(tall, count, near and (near[0] if wide else near[1].mT))
    if wide:
        left, right = right.mT, left.mT
    return with_signs(left, values, right, energy_of(matrix))


def with_signs(left: Tensor, values: Tensor, right: Tensor, energy: float) -> Decomposition:
    """Turn each pair of vectors so that the largest entry of the left one is positive."""
    signs = signs_of(left)
    return Decomposition(left * signs, values, right * signs[:, None], energy)


def signs_of(columns: Tensor) -> Tensor:
    """For each column 1 where its largest entry is positive, else -1."""
    import torch

    smallest, largest = columns.aminmax(dim=0)
    return torch.where(largest >= -smallest, 1.0, -1.0).to(columns.dtype)
