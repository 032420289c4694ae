"""The nearest matrix of a rank to a dense one, shown to be nearly as near as any can be.

A random block is filtered by Chebyshev polynomials of the Gram matrix in float32 until the energy that it captures is
shown to be that of the largest singular values, but for what the tolerance allows (range finder: Halko, Martinsson and
Tropp, SIAM Review 53, 2011). Squaring loses what is small in float32: where the captured directions are nearly all of
the matrix they are taken away from it, and the rest is searched by itself. All that is returned comes from the matrix
in float64.

Every function here expects to run on one thread: libraries round differently on several.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.numerics.gram import energy_of, gram_of, product_of, transposed_product_of
from loramerge.numerics.subspace import chebyshev, largest_outside, ritz
from loramerge.numerics.svd import of_matrix, with_signs

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.numerics.svd import Decomposition

TOLERANCE = 1e-3
"""By how much the distance may exceed the least that there is, relative to that."""
SAME = 1e-7
"""Share of a matrix's norm that is not told from nothing: about the rounding of float32."""

_SMALL = 256  # columns: all singular values are had as soon
_LARGEST_SHARE = 0.25  # of the columns; a larger block takes longer than all singular values
_SPARE = 8
_DEGREE = 6
_BUDGET = 60  # products of the Gram matrix with the block; beyond, all singular values take less
_ROUNDING = 2  # roundings of the largest eigenvalue: what a Gram matrix in float32 tells of the others
_CLEAR = 1e-3  # of the largest square: directions with more are exact enough to be taken away
_FLOOR = 100  # roundings of the largest eigenvalue, below which no filter parts anything
_SMALLEST = 1e12  # times the least normal number: of smaller squares, digits that count are lost
_GROWTH = 0.1  # share of a column that a polynomial may make of its rounding
_STAGES = 12
_FIRST, _MORE = 32, 4  # triples that a share of the energy is first looked for in, and by how much more after that
_SLACKS = tuple(10.0 ** (step / 2) for step in range(-8, 1))


def nearest(matrix: Tensor, rank: int) -> Decomposition:
    """The largest singular triples, so that the matrix cut to them is nearly the nearest of that rank.

    Its distance is at most `1 + TOLERANCE` times the least one, or `SAME` of the norm.

    Args:
        matrix: out×in, float32, finite.
        rank: How many triples are wanted.

    Returns:
        At most `rank` triples; fewer where there are no more, or the rest is not told from nothing.
    """
    wide = matrix.shape[0] < matrix.shape[1]
    tall = matrix.mT if wide else matrix
    right = None
    if rank < tall.shape[1] and tall.shape[1] > _SMALL and rank + _SPARE <= _LARGEST_SHARE * tall.shape[1]:
        right = _right_vectors(tall, rank)
    if right is None:
        return _without_nothing(of_matrix(matrix, rank))
    return _without_nothing(_from_right(matrix, tall, right, wide=wide))


def nearest_by_energy(matrix: Tensor, energy: float, most: int | None = None) -> Decomposition:
    """The same with as few triples as hold a share of the squared norm.

    Args:
        matrix: out×in, float32, finite.
        energy: The share, above 0 and at most 1.
        most: How many triples there are at most; no limit by default.
    """
    largest = min(matrix.shape[0], matrix.shape[1], most or matrix.shape[1])
    count = min(_FIRST, largest)
    while True:
        found = nearest(matrix, count)
        rank = found.rank_for(energy)
        if count == largest or len(found.values) < count or found.retained(rank) >= energy * (1 - SAME):
            return found.first(rank)
        count = min(_MORE * count, largest)


def _without_nothing(found: Decomposition) -> Decomposition:
    """Without the last triples, as far as they all together are not told from nothing."""
    held = found.values.square().flip(0).cumsum(0).flip(0)
    return found.first(max(int((held > (SAME / 2) ** 2 * found.energy).sum()), 1))


def _from_right(matrix: Tensor, tall: Tensor, right: Tensor, *, wide: bool) -> Decomposition:
    """From an orthonormal basis of the right vectors."""
    import torch

    left = _orthonormal(product_of(tall, right))
    outer, values, inner = torch.linalg.svd(transposed_product_of(tall, left), full_matrices=False)
    left = left @ inner.mT
    both = (outer, left.mT) if wide else (left, outer.mT)
    return with_signs(both[0], values, both[1], energy_of(matrix))


def _right_vectors(tall: Tensor, rank: int) -> Tensor | None:
    """An orthonormal basis, n×rank or smaller, float64; None where all singular values are had sooner."""
    import torch

    whole, rest = energy_of(tall), tall
    found = torch.empty(tall.shape[1], 0, dtype=torch.float64)
    for _ in range(_STAGES):
        gram = _normalised_gram(rest)
        block = None if gram is None else _search(gram, rank - found.shape[1])
        if block is None:
            return None
        if block.is_resolved:
            return _orthonormal(torch.cat([found, block.vectors.double()], 1))
        clear = block.vectors[:, : block.clear].double()
        clear = transposed_product_of(tall, _orthonormal(product_of(tall, clear)))
        found = _orthonormal(torch.cat([found, clear / clear.norm(dim=0)], 1))
        if found.shape[1] == rank:
            return found
        rest = _without(tall, found)
        if energy_of(rest) <= SAME**2 * whole:
            return found
    return None


def _orthonormal(columns: Tensor) -> Tensor:
    import torch

    found: Tensor = torch.linalg.qr(columns).Q
    return found


def _without(tall: Tensor, directions: Tensor) -> Tensor:
    """The matrix less what it does to some directions; in float64, rounded to float32, a block of rows at a time."""
    import torch

    image = product_of(tall, directions)
    found = torch.empty_like(tall, dtype=torch.float32)
    pieces = (torch.split(each, _SMALL) for each in (found, tall, image))
    for into, rows, part in zip(*pieces, strict=True):
        into.copy_(rows.double().sub_(part @ directions.mT))
    return found


def _normalised_gram(tall: Tensor) -> Tensor | None:
    """The Gram matrix over its trace, float32; None where squares leave that format."""
    import torch

    gram = gram_of(tall, torch.float32)
    kind, trace = torch.finfo(gram.dtype), float(gram.diagonal().sum())
    return gram.div_(trace) if _SMALLEST * kind.smallest_normal < trace < kind.max else None


@dataclass(frozen=True)
class _Block:
    """What a search found.

    Attributes:
        vectors: n×rank, orthonormal, float32.
        clear: How many of them are exact enough to be taken away from the matrix.
        is_resolved: The energy that they leave is far above the rounding of the Gram matrix.
    """

    vectors: Tensor
    clear: int
    is_resolved: bool


def _search(gram: Tensor, rank: int) -> _Block | None:
    """Directions that capture as much of the energy as any, but for what is allowed; None where that takes too long.

    Args:
        gram: n×n, its trace is 1.
        rank: How many are wanted.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(gram), rank + _SPARE, generator=generator, dtype=torch.float64)
    block, products = gram @ noise.to(gram), 1
    rounding = _ROUNDING * torch.finfo(gram.dtype).eps
    told = 2 * rank * rounding  # of the energy: less is not told from rounding
    while products < _BUDGET:
        values, block, image = ritz(gram, block)
        products += 1
        last, least = float(values[-1]), rounding * float(values[0])
        residual, captured = image - block * values, float(values[:rank].sum(dtype=torch.float64))
        if _missed(values, residual, rank, max(last, least)) <= max(2 * TOLERANCE * (1 - captured), told):
            # Only now, for it takes as long as a product: what no direction outside the block exceeds.
            missed = _missed(values, residual, rank, max(largest_outside(gram, block), least))
            allowed = 2 * TOLERANCE * (1 - captured - missed)
            if missed <= max(allowed, told):
                clear = int((values[:rank] >= _CLEAR * values[0]).sum())
                return _Block(block[:, :rank], clear, is_resolved=allowed >= told)
        edge = max(last, _FLOOR / _ROUNDING * least)
        degree = _degree(values, rank, edge)
        block = chebyshev(gram, block, image, edge, degree)
        products += degree - 1
    return None


def _missed(values: Tensor, residual: Tensor, rank: int, outside: float) -> float:
    """A bound of what the best directions capture beyond those of a block.

    With Θ the block's Ritz values, E its residual and c the largest eigenvalue outside of its span, the Gram matrix is
    at most diag(Θ + EᵀE/s, c + s) for every s > 0; so are the sums of their largest eigenvalues.

    Args:
        values: k Ritz values, falling.
        residual: n×k.
        rank: How many directions count.
        outside: c.
    """
    import torch

    theta, bent = values.double().diag(), (residual.mT @ residual).double()
    captured = float(values[:rank].sum(dtype=torch.float64))
    scale = max(float(values[rank - 1]), outside)
    bounds = []
    for slack in _SLACKS:
        bent_values = torch.linalg.eigvalsh(theta + bent / (slack * scale)).flip(0)[:rank]
        bounds.append(float(bent_values.clamp(min=outside + slack * scale).sum()))
    return min(bounds) - captured


def _degree(values: Tensor, rank: int, edge: float) -> int:
    """Of the next polynomial: no column becomes the rounding of another."""
    import torch

    rate, fastest = (math.acosh(max(2 * float(value) / edge - 1, 1)) for value in (values[rank - 1], values[0]))
    safe = int(math.log(_GROWTH / torch.finfo(values.dtype).eps) / max(fastest - rate, 1e-9))
    return min(max(safe, 1), _DEGREE)
