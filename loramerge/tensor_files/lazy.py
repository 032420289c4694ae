"""Pairs that stay in their file until they are asked for, so that memory does not grow with the adapters.

What is asked for is read anew each time: whoever needs a tensor twice keeps it.
"""

from __future__ import annotations

import math
import tempfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from loramerge.adapter import LowRank
from loramerge.deltas.dense import Dense
from loramerge.deltas.stored import StoredLowRank
from loramerge.errors import LoramergeError
from loramerge.files.reading import filled
from loramerge.files.writing import writing
from loramerge.tensor_files.header import ITEM_SIZES, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor

READABLE = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""Number formats that a LoRA can have, as a safetensors header spells them."""
INTEGERS = ("I64", "I32", "I16", "I8", "U8")
"""What an alpha can be stored as besides: it is a number, and some trainers write a whole one."""
MUCH, LITTLE = 416 << 20, 256 << 20
"""Bytes of a merge that wait in memory for what is written of it: where nothing else is large, and beside weights."""


class ByteSource(Protocol):
    """Where tensors lie."""

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer with what begins at an offset.

        Raises:
            LoramergeError: It can't be read, or ends before the buffer is full.
        """


class Spool:
    """For what is made and needed again: the first of it in memory, the rest in a file without a name.

    The file is gone with the last who holds it.

    Args:
        folder: On whose disk it lies.
        memory: Bytes that are kept in memory.
    """

    def __init__(self, folder: Path, memory: int = LITTLE) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._left = memory
        self._end = 0
        with writing(folder):
            self._file: Any = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115  # closed below
        weakref.finalize(self, self._file.close)

    def keep(self, pair: LowRank, again: LowRank | None = None) -> LowRank:
        """The same pair in float32: in the file, if memory has no room for it. Any thread may call it.

        Args:
            pair: In memory.
            again: The same, made anew each time it is asked for: it needs no room in the file.

        Raises:
            LoramergeError: The disk is full.
        """
        if isinstance(pair, Dense):
            return self._keep_dense(pair)
        size = 4 * (pair.down.numel() + pair.up.numel())
        with self._lock:
            fits = size <= self._left
            self._left -= size if fits else 0
        if fits:
            return LowRank(pair.down.float(), pair.up.float(), pair.scale)
        if again is not None:
            return again
        return StoredLowRank(self._kept(pair.down), self._kept(pair.up), pair.scale)

    def _keep_dense(self, pair: Dense) -> LowRank:
        with self._lock:
            fits = 4 * pair.size <= self._left
            self._left -= 4 * pair.size if fits else 0
        return pair.loaded() if fits else pair.kept(lambda tensor: self._kept(tensor).load)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer.

        Raises:
            LoramergeError: The disk fails.
        """
        with writing(self._folder), self._lock:
            self._file.seek(offset)
            complete = filled(self._file, buffer)
        if not complete:
            raise LoramergeError(f"a temporary file in {self._folder} is shorter than what was written to it")

    def _kept(self, tensor: Tensor) -> StoredTensor:
        data = tensor.detach().float().contiguous().numpy().reshape(-1).view("uint8").data
        with self._lock:
            offset, self._end = self._end, self._end + len(data)
            with writing(self._folder):
                self._file.seek(offset)
                left = data
                while left:
                    left = left[self._file.write(left) :]
        return StoredTensor(self, offset, "F32", tuple(tensor.shape))


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        place: The file.
        offset: Where its bytes begin there.
        dtype: Number format as a safetensors header spells it.
        shape: Of the tensor.
    """

    place: ByteSource
    offset: int
    dtype: str
    shape: tuple[int, ...]

    def read(self) -> Tensor:
        """The tensor in its own number format, on the CPU."""
        import torch

        tensor = torch.empty(self.shape, dtype=torch_dtype(self.dtype))
        if tensor.numel():
            self.place.read_into(tensor.view(-1).view(torch.uint8).numpy().data, self.offset)
        return tensor

    @property
    def number_formats(self) -> frozenset[str]:
        """That of the tensor, such as `float16`."""
        return frozenset({str(torch_dtype(self.dtype)).removeprefix("torch.")})

    def load(self) -> Tensor:
        """The tensor in float32, on the CPU."""
        return self.read().float()

    def reshaped(self, shape: tuple[int, ...]) -> StoredTensor:
        """The same numbers in another shape."""
        assert math.prod(shape) == math.prod(self.shape)  # noqa: S101  # as `Tensor.reshape` does
        return StoredTensor(self.place, self.offset, self.dtype, shape)

    def rows(self, spans: Sequence[tuple[int, int]]) -> StoredTensor | StoredRows:
        """Some of its rows, in the order given; nothing is read or copied.

        Args:
            spans: First row and the one behind the last, of each run of rows.
        """
        size = math.prod(self.shape[1:]) * ITEM_SIZES[self.dtype]
        parts = tuple(
            StoredTensor(self.place, self.offset + start * size, self.dtype, (stop - start, *self.shape[1:]))
            for start, stop in spans
        )
        return parts[0] if len(parts) == 1 else StoredRows(parts)

    @property
    def parts(self) -> tuple[StoredTensor, ...]:
        """Itself: it is one run of rows."""
        return (self,)


@dataclass(frozen=True)
class StoredRows:
    """Runs of rows of a tensor in a file, one after the other.

    Attributes:
        parts: The runs; all are of one number format and differ in their number of rows alone.
    """

    parts: tuple[StoredTensor, ...]

    @property
    def dtype(self) -> str:
        """Number format as a safetensors header spells it."""
        return self.parts[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows together."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def number_formats(self) -> frozenset[str]:
        """That of the rows, such as `float16`."""
        return self.parts[0].number_formats

    def rows(self, spans: Sequence[tuple[int, int]]) -> StoredRows:
        """Some of the rows, in the order given; nothing is read or copied."""
        found, first = list[StoredTensor](), 0
        starts = list[tuple[int, StoredTensor]]()
        for part in self.parts:
            starts.append((first, part))
            first += part.shape[0]
        for start, stop in spans:
            for offset, part in starts:
                low, high = max(start - offset, 0), min(stop - offset, part.shape[0])
                if low < high:
                    found += part.rows([(low, high)]).parts
        return StoredRows(tuple(found))

    def load(self) -> Tensor:
        """The rows in float32, on the CPU."""
        import torch

        return torch.cat([part.load() for part in self.parts])

    def reshaped(self, shape: tuple[int, ...]) -> StoredRows:
        """The same rows, each in another shape."""
        return StoredRows(tuple(part.reshaped((part.shape[0], *shape[1:])) for part in self.parts))
