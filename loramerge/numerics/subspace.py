"""The leading singular triples of a tall matrix, to the last digit that float32 can show.

A block that holds a guess at the right vectors is filtered by Chebyshev polynomials of the Gram matrix, which damp the
unwanted end of the spectrum (Zhou, Saad, Tiago and Chelikowsky, Journal of Computational Physics 219, 2006). The search
is in float32 where that will do and else in float64; what it found is proven on the matrix itself in float64, by
residuals that bound the error. Where the spectrum has no gap to work with, all eigenvectors of the Gram matrix are
computed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loramerge.numerics.gram import gram_of, product_of, transposed_product_of

if TYPE_CHECKING:
    from torch import Tensor

    Triples = tuple[Tensor, Tensor, Tensor]

TOLERANCE = 1e-7
"""Relative error of the truncated matrix that is allowed: that of one rounding to float32."""

_SPARE = 8
_LARGEST_SHARE = 0.25
_FLOOR = 100  # roundings of the largest eigenvalue: what lies below can't be told from them
_SMALLEST = 1e12  # times the least normal number: of smaller squares, digits that count are lost
_BUDGET = 40  # products of the Gram matrix with the block; beyond, all eigenvectors take less
_ROUND = 2  # products that starting anew from the best approximations takes as long as
_HIGHEST = 12
_MARGIN = 20  # by how much the estimated error is to be less than allowed
_STEPS = 12  # of Lanczos; more bring the bound nearer by a few hundredths
_GROWTH = 0.1  # share of a column that a polynomial may make of its rounding


def leading(tall: Tensor, count: int, guess: Tensor | None = None) -> Triples:
    """The largest singular values and their vectors.

    Args:
        tall: m×n, any floating-point format.
        count: How many are wanted, at most n.
        guess: n×k, a matrix whose columns nearly span the right vectors; it shortens the search.

    Returns:
        Left vectors, m×count, orthonormal where the value is not zero; values, falling; right vectors, count×n; all in
        float64.
    """
    import torch

    size = 0 if guess is None else max(guess.shape[1], count) + _SPARE
    gram = None
    if guess is not None and size <= _LARGEST_SHARE * tall.shape[1]:
        block = _start(guess, size)
        for dtype in (torch.float32, torch.float64):
            if tall.dtype == torch.float32 or dtype == torch.float64:
                gram = gram_of(tall, dtype)
                found, block = _search(tall, gram, block, count)
                if found:
                    return found
    gram = gram_of(tall, torch.float64) if gram is None else gram
    vectors = torch.linalg.eigh(gram).eigenvectors[:, -count:]
    image = product_of(tall, vectors)
    values = image.norm(dim=0)
    order = values.argsort(descending=True, stable=True)
    return (image / torch.where(values > 0, values, 1))[:, order], values[order], vectors[:, order].mT


def _start(guess: Tensor, size: int) -> Tensor:
    """The guess and, as random vectors have a little of whatever it has nothing of, a few of them."""
    import torch

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(guess), size - guess.shape[1], generator=generator, dtype=torch.float64)
    norms = guess.norm(dim=0)
    return torch.cat([guess / torch.where(norms > 0, norms, 1), noise.to(guess.device) / math.sqrt(len(guess))], 1)


def _search(tall: Tensor, gram: Tensor, block: Tensor, count: int) -> tuple[Triples | None, Tensor]:
    """Triples that are proven, or None where another way will be had sooner; and the block as it is then.

    Args:
        tall: m×n.
        gram: n×n, in the number format that is searched in; it may come out divided by a number.
        block: n×k, what to start from.
        count: At most k.
    """
    import torch

    kind, trace = torch.finfo(gram.dtype), float(gram.diagonal().sum())
    if not _SMALLEST * kind.smallest_normal < trace < kind.max:
        return None, block
    gram /= trace  # else what is squared below may leave the number format
    products, before = 0, math.inf
    while True:
        values, block, image = ritz(gram, block.to(gram.dtype))
        products += 1
        edge = max(_edge(tall.shape, values), float(values[0]) * _FLOOR * kind.eps)
        error = _error_bound(values[:count], edge, (image - block * values)[:, :count])
        if error is None:
            return None, block
        if error > before / 2:  # rounding is all that is left of it
            return _proven(tall, gram, block, count, trace), block
        before = error
        # By how much one more degree shrinks what is unwanted beside the last and the first of the wanted.
        rate, fastest = (math.acosh(max(2 * float(value) / edge - 1, 1)) for value in (values[count - 1], values[0]))
        needed = max(math.ceil(min(math.log(max(_MARGIN * error / TOLERANCE, 1)) / max(rate, 1e-9), _BUDGET)), 1)
        safe = max(int(math.log(_GROWTH / kind.eps) / max(fastest - rate, 1e-9)), 1)
        degree = min(needed, safe, _HIGHEST)
        if products + needed + _ROUND * (needed // degree) > _BUDGET:
            return None, block
        block = chebyshev(gram, block, image, edge, degree)
        products += degree - 1
        if degree == needed:
            found = _proven(tall, gram, block, count, trace)
            if found:
                return found, block


def ritz(gram: Tensor, block: Tensor) -> Triples:
    """(values, vectors, gram @ vectors): the best approximations that the block's span has, falling."""
    import torch

    block = torch.linalg.qr(block).Q
    image = gram @ block
    values, rotation = torch.linalg.eigh(block.mT @ image)
    rotation = rotation.flip(1)
    return values.flip(0), block @ rotation, image @ rotation


def _proven(tall: Tensor, gram: Tensor, block: Tensor, count: int, trace: float) -> Triples | None:
    """The best triples that a block's span has, in float64; None where they can't be shown to be good enough.

    The left vectors are the images of the right ones, in which what is wrong with these is smaller, and the right ones
    are then made anew from the left.

    Args:
        tall: m×n.
        gram: Its Gram matrix divided by `trace`, in the number format that was searched in.
        block: n×k.
        count: At most k.
        trace: Of the Gram matrix.
    """
    import torch

    rounding = _FLOOR * torch.finfo(gram.dtype).eps
    block = torch.linalg.qr(block.double()).Q
    missed = largest_outside(gram, block.to(gram.dtype))
    image = product_of(tall, block)
    squares, rotation = torch.linalg.eigh(image.mT @ image)
    squares, rotation = squares.flip(0), rotation.flip(1)
    edge, wanted = max(trace * missed, rounding * float(squares[0])), squares[:count]
    vectors, image = block @ rotation[:, :count], image @ rotation[:, :count]
    back = transposed_product_of(tall, image)
    error = _error_bound(wanted, edge, back - vectors * wanted)
    if error is None or error > TOLERANCE:
        return None
    left, rows = image / wanted.sqrt(), (back / wanted.sqrt()).mT
    squares, rotation = torch.linalg.eigh(rows @ rows.mT)
    least = _FLOOR * torch.finfo(squares.dtype).eps * float(squares[-1])
    values, rotation = squares.flip(0).clamp(min=least).sqrt(), rotation.flip(1)
    return left @ rotation, values, rotation.mT @ rows / values[:, None]


def largest_outside(gram: Tensor, block: Tensor) -> float:
    """What no eigenvalue of a Gram matrix exceeds outside of a block's span; what the block has left over can't tell.

    By a few steps of Lanczos from a random vector: the largest value found and the norm of its residual (Zhou and
    Li, Bounding the spectrum of large Hermitian matrices, Linear Algebra and its Applications 435, 2011).

    Args:
        gram: n×n.
        block: n×k, orthonormal, in the same number format.
    """
    import torch

    def beyond(vector: Tensor) -> Tensor:
        return vector - span @ (span.mT @ vector)

    generator = torch.Generator().manual_seed(1)
    image = torch.randn(len(block), 1, generator=generator, dtype=torch.float64).to(gram)
    span, images = block, []
    for _ in range(min(_STEPS, len(gram) - block.shape[1])):
        vector = beyond(image)
        vector = beyond(vector / vector.norm().clamp(min=torch.finfo(gram.dtype).tiny))
        span = torch.cat([span, vector], 1)
        image = gram @ vector
        images.append(image)
    found = span[:, block.shape[1] :].mT @ torch.cat(images, 1)
    values, vectors = torch.linalg.eigh((found + found.mT) / 2)
    return float(values[-1] + vectors[-1, -1].abs() * beyond(image).norm())


def _edge(shape: tuple[int, ...], values: Tensor) -> float:
    """Where the unwanted ones of eigenvalues that sum up to 1 end: at the last that was found, or where noise does.

    Noise with the energy that is not found has them up to (1 + √(n/m))² of their mean (Marchenko and Pastur, 1967).
    """
    height, width = shape
    mean = (1 - float(values.sum())) / (width - len(values))
    return max(float(values[-1]), min(mean * (1 + math.sqrt(width / height)) ** 2, float(values[0])))


def _error_bound(values: Tensor, edge: float, residual: Tensor) -> float | None:
    """A bound of the relative error of the matrix that is cut to the images of these vectors; None without a gap.

    A vector leans by its residual over the gap towards directions that the matrix stretches by √edge at most.
    """
    gaps = values - edge
    if edge <= 0 or float(gaps[-1]) <= 0:
        return None
    return math.sqrt(edge * float((residual.norm(dim=0) / gaps).square().sum()) / float(values.sum()))


def chebyshev(gram: Tensor, block: Tensor, image: Tensor, edge: float, degree: int) -> Tensor:
    """The Chebyshev polynomial that stays within 1 on [0, edge], of `gram`, times the block; columns normalised.

    Args:
        gram: The matrix.
        block: Its approximate eigenvectors.
        image: gram @ block.
        edge: Where the unwanted eigenvalues end.
        degree: At least 1.
    """
    before, now = block, image * (2 / edge) - block
    for _ in range(degree - 1):
        scaled = (gram @ now).mul_(4 / edge).sub_(now, alpha=2).sub_(before)
        before, now = now, scaled
        norms = now.norm(dim=0)
        before, now = before / norms, now / norms
    return now
