"""Products of a tall matrix with its own transpose and with a few vectors, without a copy of it in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_ROWS = 256
_COLUMNS = 256
_STRIP = 128  # below, one product of all is faster than half of it in strips


def gram_of(tall: Tensor, dtype: torch.dtype) -> Tensor:
    """tallᵀ·tall; a block of rows at a time is converted, and what symmetry gives is not computed.

    Args:
        tall: m×n.
        dtype: In which number format.

    Returns:
        n×n.
    """
    import torch

    size = tall.shape[1]
    gram = torch.zeros(size, size, dtype=dtype, device=tall.device)
    for rows in torch.split(tall, _ROWS):
        block = rows.to(dtype)
        for start in range(0, size, _COLUMNS):
            end = start + _COLUMNS
            gram[start:end, start:].addmm_(block[:, start:end].mT, block[:, start:])
    upper = gram.triu()
    return upper + upper.triu(1).mT


def gram_in_strips(columns: Tensor) -> Tensor:
    """columnsᵀ·columns in their own number format, for few columns: all rows count at once, a strip at a time.

    Of several strips, the half above the diagonal is taken from the half below.

    Args:
        columns: m×n.

    Returns:
        n×n.
    """
    import torch

    count = columns.shape[1]
    if count <= _STRIP:
        return torch.mm(columns.T, columns)
    found = torch.empty(count, count, dtype=columns.dtype)
    for first in range(0, count, _STRIP):
        strip = slice(first, min(first + _STRIP, count))
        torch.mm(columns[:, strip].T, columns[:, : strip.stop], out=found[strip, : strip.stop])
        found[: strip.start, strip] = found[strip, : strip.start].T
    return found


class KeptGram:
    """The Gram matrix `columnsᵀ @ columns`, kept in every number format that it was asked for.

    Args:
        columns: Gives the columns in a number format.
    """

    def __init__(self, columns: Callable[[torch.dtype], Tensor]) -> None:
        self._columns = columns
        self._known: dict[torch.dtype, Tensor] = {}

    def __call__(self, dtype: torch.dtype) -> Tensor:
        """Computed in a number format, given in float64."""
        if dtype not in self._known:
            self._known[dtype] = gram_in_strips(self._columns(dtype)).double()
        return self._known[dtype]


def energy_of(matrix: Tensor) -> float:
    """Squared Frobenius norm, summed up in float64."""
    import torch

    norms = (torch.linalg.vector_norm(rows, dtype=torch.float64) for rows in torch.split(matrix, _ROWS))
    return sum(float(norm) ** 2 for norm in norms)


def distance_of(matrix: Tensor, up: Tensor, down: Tensor) -> float:
    """‖matrix - up·down‖, in float64; no other matrix of that size is made.

    Args:
        matrix: out×in.
        up: out×r.
        down: r×in.
    """
    import torch

    wide = down.double()
    squares = (
        float(torch.linalg.vector_norm(rows.double().sub_(part.double() @ wide))) ** 2
        for rows, part in zip(torch.split(matrix, _ROWS), torch.split(up, _ROWS), strict=True)
    )
    return math.sqrt(math.fsum(squares))


def product_of(tall: Tensor, vectors: Tensor) -> Tensor:
    """tall·vectors, m×k, in float64.

    Args:
        tall: m×n.
        vectors: n×k, float64.
    """
    import torch

    return torch.cat([rows.double() @ vectors for rows in torch.split(tall, _ROWS)])


def transposed_product_of(tall: Tensor, vectors: Tensor) -> Tensor:
    """tallᵀ·vectors, n×k, in float64.

    Args:
        tall: m×n.
        vectors: m×k, float64.
    """
    import torch

    total = vectors.new_zeros(vectors.shape[1], tall.shape[1])
    for rows, part in zip(torch.split(tall, _ROWS), torch.split(vectors, _ROWS), strict=True):
        total.addmm_(part.mT, rows.double())  # the other way round takes twice as long
    return total.mT
