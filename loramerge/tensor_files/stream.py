"""Safetensors files of any size in little memory: read in blocks, computed where something changes, written in order.

Which elements make a block depends on the tensors alone, so that the bytes are the same for any number of threads.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from loramerge.numerics.threads import in_order, workers
from loramerge.tensor_files.fuse_add import add
from loramerge.tensor_files.header import header
from loramerge.tensor_files.write_behind import SteadyWriter

if TYPE_CHECKING:
    from loramerge.files.file_view import FileBytes
    from loramerge.tensor_files.fuse_plan import TensorChange
    from loramerge.tensor_files.rounding_loss import RoundingLoss

BLOCK = 1 << 20
"""Bytes read at once: with the float32 sums it stays in a core's cache."""
_AHEAD = 8  # blocks that are computed before the first of them is written
_METADATA = MappingProxyType({"format": "pt"})


def write_blocks(
    path: Path,
    changes: Sequence[TensorChange],
    metadata: Mapping[str, str] = _METADATA,
    loss: RoundingLoss | None = None,
) -> str:
    """Write a safetensors file.

    Args:
        path: Where to; its folder exists.
        changes: What it holds, in this order.
        metadata: What it says of itself.
        loss: Told of sums that are rounded to 8 bits.

    Returns:
        SHA-256 of the file, 64 hex digits.

    Raises:
        SourceError: A source's file can't be read, or is no longer what it was.
        LoramergeError: A result is more than its number format can hold.
        OSError: The file can't be written.
    """
    start = header(((each.stored.key, each.dtype, each.stored.shape, each.size) for each in changes), metadata)
    digest = hashlib.sha256(start)
    buffers = _Buffers()
    places = {each.stored.path: each.stored.place for each in changes}

    def made(block: Sequence[_Piece]) -> memoryview:
        return _made(block, buffers, places, loss)

    def written(blocks: Iterable[memoryview]) -> Iterator[memoryview]:
        for block in blocks:
            writer.write(block)
            yield block

    def hashed(block: memoryview) -> None:
        digest.update(block)
        buffers.give(block)
        writer.let_go()

    with path.open("wb") as file, workers() as pool, ThreadPoolExecutor(1) as hasher:
        writer = SteadyWriter(file)
        writer.write(start)
        computed = in_order(pool, made, _blocks(changes), ahead=_AHEAD)
        for _ in in_order(hasher, hashed, written(computed), ahead=_AHEAD):
            pass
    return digest.hexdigest()


class _Buffers:
    """Memory that is used again: the system clears every page that it hands out."""

    def __init__(self) -> None:
        self._spare: deque[bytearray] = deque()  # taken from and given to by all threads

    def take(self, size: int) -> memoryview:
        try:
            buffer = self._spare.pop()
        except IndexError:
            buffer = bytearray(2 * BLOCK)
        return memoryview(buffer if len(buffer) >= size else bytearray(size))[:size]

    def give(self, taken: memoryview) -> None:
        buffer = taken.obj
        if isinstance(buffer, bytearray):
            self._spare.append(buffer)


@dataclass(frozen=True)
class _Piece:
    """Some consecutive elements of a tensor; whole rows where something is added to them."""

    change: TensorChange
    first: int
    count: int

    @property
    def item_size(self) -> int:
        return self.change.stored.size // self.change.stored.count

    @property
    def offset(self) -> int:
        return self.change.stored.offset + self.first * self.item_size

    @property
    def size(self) -> int:
        return self.count * self.item_size

    @property
    def size_made(self) -> int:
        return self.count * self.change.size // self.change.stored.count


def _pieces(changes: Iterable[TensorChange]) -> Iterator[_Piece]:
    for change in changes:
        stored = change.stored
        if stored.size:
            row = math.prod(stored.shape[1:]) if change.shares else 1
            step = max(BLOCK * stored.count // stored.size // row, 1) * row
            for first in range(0, stored.count, step):
                yield _Piece(change, first, min(step, stored.count - first))


def _blocks(changes: Iterable[TensorChange]) -> Iterator[list[_Piece]]:
    """Pieces that lie one after the other in one file, as many as fill a block."""
    block: list[_Piece] = []
    for piece in _pieces(changes):
        if block:
            last, size = block[-1], piece.offset + piece.size - block[0].offset
            follows = last.change.stored.path == piece.change.stored.path and last.offset + last.size == piece.offset
            if not follows or size > BLOCK:
                yield block
                block = []
        block.append(piece)
    if block:
        yield block


def _made(
    block: Sequence[_Piece], buffers: _Buffers, places: Mapping[Path, FileBytes], loss: RoundingLoss | None
) -> memoryview:
    """The bytes of a block as they are written."""
    read = _read_block(block, buffers, places)
    if all(piece.change.dtype == piece.change.stored.dtype for piece in block):
        made = read
    else:
        made = buffers.take(sum(piece.size_made for piece in block))
    source = target = 0
    for piece in block:
        if not piece.change.is_plain:
            add(piece.change, piece.first, piece.count, read[source:], made[target:], loss)
        elif made is not read:
            made[target : target + piece.size] = read[source : source + piece.size]
        source, target = source + piece.size, target + piece.size_made
    if made is not read:
        buffers.give(read)
    return made


def _read_block(block: Sequence[_Piece], buffers: _Buffers, places: Mapping[Path, FileBytes]) -> memoryview:
    first, last = block[0], block[-1]
    read = buffers.take(last.offset + last.size - first.offset)
    places[first.change.stored.path].read_into(read, first.offset)
    return read
