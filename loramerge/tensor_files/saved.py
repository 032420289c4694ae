"""A parameter that was trained in full, as it lies in a LoRA's file: a classifier's head, an embedding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import starmap
from typing import TYPE_CHECKING

from loramerge.files.file_view import FileBytes
from loramerge.numerics.finite import is_finite
from loramerge.tensor_files.header import ITEM_SIZES, Stored

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.tensor_files.lazy import StoredTensor

_BLOCK = 64 << 20  # bytes that are looked at in one go


@dataclass(frozen=True)
class SavedTensor:
    """The parameter, which is carried to the byte.

    Attributes:
        stored: Where it lies.
        module: Of the base, what PEFT's `modules_to_save` names and wraps as a whole; None where the parameter is put
            into the base by itself, as PEFT does with embeddings.
    """

    stored: StoredTensor
    module: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the parameter."""
        return self.stored.shape

    @property
    def dtype(self) -> str:
        """Number format as a safetensors header spells it."""
        return self.stored.dtype

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * ITEM_SIZES[self.dtype]

    @property
    def is_finite(self) -> bool:
        """Whether it holds numbers alone; it is read block by block."""
        return all(is_finite(block.float()) for block in self._blocks())

    def equals(self, other: SavedTensor) -> bool:
        """Whether both are the same bytes in the same shape; they are read until two blocks differ."""
        import torch

        if (self.shape, self.dtype) != (other.shape, other.dtype):
            return False
        pairs = zip(self._blocks(), other._blocks(), strict=True)
        return all(starmap(torch.equal, ((one.view(torch.uint8), two.view(torch.uint8)) for one, two in pairs)))

    def named(self, key: str) -> Stored:
        """The same as a tensor of a file, by another name.

        Raises:
            TypeError: It is in memory.
        """
        place = self.stored.place
        if not isinstance(place, FileBytes):
            raise TypeError(f"{key} lies in no file")
        return Stored(key, self.dtype, self.shape, self.stored.offset, self.size, place)

    def read(self) -> Tensor:
        """The parameter in its own number format."""
        return self.stored.read()

    def loaded(self) -> SavedTensor:
        """The same in memory."""
        return replace(self, stored=replace(self.stored, place=_Memory(self._bytes()), offset=0))

    def _bytes(self) -> memoryview:
        import torch

        data: memoryview = self.read().reshape(-1).view(torch.uint8).numpy().data
        return data

    def _blocks(self) -> Iterator[Tensor]:
        item = ITEM_SIZES[self.dtype]
        total, step = math.prod(self.shape), _BLOCK // item
        for start in range(0, total, step):
            shape = (min(step, total - start),)
            yield replace(self.stored, offset=self.stored.offset + start * item, shape=shape).read()


@dataclass(frozen=True)
class _Memory:
    """Bytes that were read."""

    data: memoryview

    def read_into(self, buffer: memoryview, offset: int) -> None:
        buffer[:] = self.data[offset : offset + len(buffer)]
