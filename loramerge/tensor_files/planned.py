"""A tensor that a file will hold, known by its size before it is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.errors import LoramergeError
from loramerge.numerics.finite import is_finite
from loramerge.tensor_files.header import ITEM_SIZES, STORED_AS, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import LowRank


@dataclass(frozen=True)
class Planned:
    """A tensor on its way into a file.

    Attributes:
        key: Its name there.
        dtype: Number format as a header spells it.
        shape: Of the tensor.
        make: Gives the tensor itself, on the CPU, in that format and shape; called once.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return math.prod(self.shape) * ITEM_SIZES[self.dtype]

    @classmethod
    def of(cls, key: str, tensor: Tensor) -> Planned:
        """A tensor that is there already.

        Args:
            key: Its name in the file.
            tensor: float64, float32, float16 or bfloat16.
        """
        names = {torch_dtype(stored): stored for stored in ITEM_SIZES}
        return cls(key, names[tensor.dtype], tuple(tensor.shape), lambda: tensor.detach().cpu())


def factors(
    pair: LowRank, keys: tuple[str, str], dtype: str, module: str, folded: tuple[float, float] = (1.0, 1.0)
) -> Iterator[Planned]:
    """Both factors of a pair in the number format of a file.

    Args:
        pair: In memory or in a file.
        keys: Of down and up.
        dtype: `float32`, `float16` or `bfloat16`.
        module: For messages.
        folded: What down and up are multiplied by before they are rounded.
    """
    down, up = pair.factor_shapes(pair.shape)
    yield Planned(keys[0], STORED_AS[dtype], down, lambda: _rounded(pair.down, folded[0], dtype, module))
    yield Planned(keys[1], STORED_AS[dtype], up, lambda: _rounded(pair.up, folded[1], dtype, module))


def dense(pair: LowRank, key: str, dtype: str, module: str) -> Planned:
    """A delta itself in the number format of a file, with its scale in it.

    Args:
        pair: In memory or in a file.
        key: Of the tensor.
        dtype: `float32`, `float16` or `bfloat16`.
        module: For messages.
    """
    return Planned(
        key,
        STORED_AS[dtype],
        pair.shape,
        lambda: _rounded(pair.matrix().reshape(pair.shape), pair.scale, dtype, module),
    )


def _rounded(tensor: Tensor, factor: float, dtype: str, module: str) -> Tensor:
    """Raises LoramergeError where a value is too large for the format."""
    found = (tensor if factor == 1 else tensor * factor).to(torch_dtype(STORED_AS[dtype]))
    if not is_finite(found):
        raise LoramergeError(
            f"{module} has values that {dtype} can't hold", hint="write this output with dtype: bfloat16 or float32"
        )
    return found
