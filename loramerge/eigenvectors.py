"""The leading eigenvectors of a Gram matrix, to the last digit that float32 can show.

A block that holds a guess at them is filtered by Chebyshev polynomials, which damp the unwanted end of the spectrum
(Zhou, Saad, Tiago and Chelikowsky, Journal of Computational Physics 219, 2006), until the residuals bound the error.
Where the spectrum has no gap to work with, all eigenvectors are computed instead.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-7
"""Relative error of the truncated matrix that is allowed: that of one rounding to float32."""

_FLOOR = 1e-14  # of the largest eigenvalue: below it there is rounding alone
_SPARE = 8
_LARGEST_SHARE = 0.25
_DEGREES = (4, 12)
_BUDGET = 30


def leading(gram: Tensor, count: int, guess: Tensor | None = None) -> Tensor:
    """The eigenvectors of the largest eigenvalues, in falling order.

    Args:
        gram: n×n, symmetric, positive semidefinite, float64.
        count: How many are wanted, at most n.
        guess: n×k, a matrix whose columns nearly span them.

    Returns:
        n×count.
    """
    import torch

    if guess is not None and max(guess.shape[1], count) + _SPARE <= _LARGEST_SHARE * len(gram):
        found = _filtered(gram, count, guess)
        if found is not None:
            return found
    vectors: Tensor = torch.linalg.eigh(gram).eigenvectors
    return vectors[:, -count:].flip(1)


def _filtered(gram: Tensor, count: int, guess: Tensor) -> Tensor | None:
    """By filtering; None where that would take longer than computing all of them."""
    import torch

    size = max(guess.shape[1], count) + _SPARE
    # Whatever the guess has nothing of, random vectors have a little of.
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(gram), size - guess.shape[1], generator=generator, dtype=gram.dtype).to(gram.device)
    norms = guess.norm(dim=0)
    block = torch.cat([guess / torch.where(norms > 0, norms, 1), noise / math.sqrt(len(gram))], 1)
    products = 0
    filtered = False
    while True:
        block = torch.linalg.qr(block).Q
        image = gram @ block
        values, rotation = torch.linalg.eigh(block.mT @ image)
        values, rotation = values.flip(0), rotation.flip(1)
        block, image = block @ rotation, image @ rotation
        products += 1
        wanted, edge = values[:count], max(float(values[-1]), float(values[0]) * _FLOOR)
        residuals = (image[:, :count] - block[:, :count] * wanted).norm(dim=0)
        gaps = wanted - edge
        if edge <= 0 or float(gaps[-1]) <= 0:
            return None
        error = math.sqrt(float((wanted * (residuals / gaps).square()).sum() / wanted.sum()))
        if filtered and error <= TOLERANCE:
            found: Tensor = block[:, :count]
            return found
        # By how much one more degree shrinks what is unwanted beside the last of the wanted.
        rate = math.acosh(2 * float(wanted[-1]) / edge - 1)
        needed = math.ceil(math.log(max(2 * error / TOLERANCE, 1)) / rate) if rate > 0 else _BUDGET
        if products + needed > _BUDGET:
            return None
        degree = min(max(needed, _DEGREES[0]), _DEGREES[1])
        block = _chebyshev(gram, block, image, edge, degree)
        products += degree - 1
        filtered = True


def _chebyshev(gram: Tensor, block: Tensor, image: Tensor, edge: float, degree: int) -> Tensor:
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
