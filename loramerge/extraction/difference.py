"""What one tensor of a model is more than that of another: computed where it is not the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from loramerge.errors import SourceError
from loramerge.numerics.finite import is_finite
from loramerge.tensor_files.header import torch_dtype
from loramerge.tensor_files.lazy import StoredRows, StoredTensor

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.extraction.weights import Placed

_CHUNK = 1 << 22  # elements that are compared at once, where nothing but the norm is wanted


def difference(tuned: Placed, base: Placed, shape: tuple[int, ...]) -> Tensor | str:
    """The tuned weight less the base's.

    The exact difference, rounded once to float32: that of two numbers of 16 bits most often is one of float32.

    Args:
        tuned: The one.
        base: The other, of the same shape.
        shape: Of the weight.

    Returns:
        out×(in and the kernel's sizes); `equal` where there is none, `rounded` where it is no more than what rounding
        to the number format of one of them makes.

    Raises:
        SourceError: A number is NaN or infinite.
    """
    import torch

    one, other = _numbers_of(tuned), _numbers_of(base)
    if _is_same(one, other, tuned, base):
        if not is_finite(one.float()):
            raise _not_finite(tuned)
        return "equal" if tuned.rows.dtype == base.rows.dtype else "rounded"
    exact = torch.float64 if torch.float64 in (one.dtype, other.dtype) else torch.float32
    found = one.to(exact).sub_(other) if one.dtype != exact else one.sub_(other.to(exact))
    found = found.float()
    if not is_finite(found):
        raise _not_finite(tuned, base)
    return found.reshape(shape[0], math.prod(shape[1:]))


def norm_of_difference(tuned: Placed, base: Placed) -> float:
    """‖tuned - base‖ of tensors of one shape; 0 where they are equal, or differ by rounding to the other's format.

    Raises:
        SourceError: A number is NaN or infinite.
    """
    import torch

    squares = []
    for one, other in zip(_chunks(tuned), _chunks(base), strict=True):
        if not _is_same(one, other, tuned, base):
            found = one.double().sub_(other)
            if not is_finite(found):
                raise _not_finite(tuned, base)
            squares.append(float(torch.linalg.vector_norm(found)) ** 2)
    return math.sqrt(math.fsum(squares))


def _numbers_of(placed: Placed) -> Tensor:
    """In the file's number format, out×in; numbers of 8 bits in float32, for few operations take them."""
    import torch

    parts = placed.rows.parts if isinstance(placed.rows, StoredRows) else (placed.rows,)
    found = [_as_numbers(part.read()) for part in parts]
    whole = found[0] if len(found) == 1 else torch.cat(found)
    return whole.mT if placed.is_turned else whole


def _as_numbers(found: Tensor) -> Tensor:
    return found.float() if found.dtype.itemsize == 1 else found


def _is_same(one: Tensor, other: Tensor, tuned: Placed, base: Placed) -> bool:
    """Whether numbers of two models are equal, or the one what the other is rounded to."""
    import torch

    formats = torch_dtype(tuned.rows.dtype), torch_dtype(base.rows.dtype)
    if formats[0] == formats[1]:
        return torch.equal(one, other)
    return torch.equal(one, _as_numbers(other.to(formats[0]))) or torch.equal(_as_numbers(one.to(formats[1])), other)


def _chunks(placed: Placed) -> Iterator[Tensor]:
    """A tensor, some rows at a time."""
    shape, rows = placed.rows.shape, placed.rows
    if isinstance(rows, StoredRows) or math.prod(shape) <= _CHUNK:
        yield _numbers_of(placed)
        return
    step = max(_CHUNK // math.prod(shape[1:]), 1)
    for start in range(0, shape[0], step):
        chunk = rows.rows([(start, min(start + step, shape[0]))])
        yield _as_numbers(chunk.read() if isinstance(chunk, StoredTensor) else chunk.load())


def _not_finite(*places: Placed) -> SourceError:
    """Names the tensor that has such a number."""
    bad = next((each for each in places if not is_finite(_numbers_of(each).double())), places[0])
    return SourceError(
        f"{bad.shown} holds NaN or infinite values", hint="the training diverged or the file is damaged; use another"
    )
