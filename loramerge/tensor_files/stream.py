"""Safetensors files of any size in little memory: read in blocks, computed where something changes, written in order.

Which elements make a block depends on the tensors alone, so that the bytes are the same for any number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.numerics.threads import in_order, workers
from loramerge.tensor_files.fuse_add import add
from loramerge.tensor_files.new_files import METADATA, NewFile, Sink, Variant
from loramerge.tensor_files.passing import Passing

if TYPE_CHECKING:
    from loramerge.files.file_view import FileBytes
    from loramerge.tensor_files.fuse_plan import TensorChange
    from loramerge.tensor_files.header import Stored
    from loramerge.tensor_files.rounding_loss import RoundingLoss

BLOCK = 1 << 20
"""Bytes read at once: with the float32 sums it stays in a core's cache."""
_AHEAD = 8  # blocks that are computed before the first of them is written


def write_blocks(
    path: Path,
    changes: Sequence[TensorChange],
    metadata: Mapping[str, str] = METADATA,
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
    return write_variants([Variant([NewFile(path, changes, metadata)], loss)])[0][0]


def write_variants(variants: Sequence[Variant]) -> list[list[str]]:
    """Write the same tensors in several ways, with one pass over the files that have them.

    A file whose digest nobody knows yet is hashed in the same pass, where its tensors are read in their order.

    Args:
        variants: At least one; all have the same tensors in the same order, in as many files as they like.

    Returns:
        SHA-256 of each file of each variant, 64 hex digits.

    Raises:
        SourceError: A source's file can't be read, or is no longer what it was.
        LoramergeError: A result is more than its number format can hold.
        OSError: A file can't be written.
    """
    buffers = _Buffers()
    together = list(zip(*(variant.changes for variant in variants), strict=True))
    places = {changes[0].stored.path: changes[0].stored.place for changes in together}
    passing = Passing((changes[0].stored for changes in together), places)
    starts = {_tensor_at(file.changes[0]) for variant in variants for file in variant.files if file.changes}

    def made(numbered: tuple[int, Sequence[_Piece]]) -> list[memoryview]:
        number, block = numbered
        read = _read_block(block, buffers, places)
        passing.passed(number, block[0].stored.path, read, block[0].offset)
        return _made(block, read, buffers, [variant.loss for variant in variants])

    def written(blocks: Iterable[Sequence[memoryview]]) -> Iterator[list[tuple[Sink, memoryview, int]]]:
        for block in blocks:
            yield [(sink, data, sink.write(data)) for sink, data in zip(sinks, block, strict=True)]

    def hashed(block: Sequence[tuple[Sink, memoryview, int]]) -> None:
        for sink, data, file in block:
            sink.digests[file].update(data)
        for data in {id(data.obj): data for _, data, _ in block}.values():
            buffers.give(data)

    with ExitStack() as stack:
        sinks = [stack.enter_context(Sink(variant)) for variant in variants]
        pool, hasher = stack.enter_context(workers()), stack.enter_context(ThreadPoolExecutor(1))
        stack.enter_context(passing)  # left before the pool, whose threads may wait there
        computed = in_order(pool, made, enumerate(_blocks(together, starts)), ahead=_AHEAD)
        for _ in in_order(hasher, hashed, written(computed), ahead=_AHEAD):
            pass
        for sink in sinks:
            sink.finish()
        passing.settled()
    return [[digest.hexdigest() for digest in sink.digests] for sink in sinks]


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
    """Some consecutive elements of a tensor; whole rows where something is added to them.

    Attributes:
        changes: What becomes of the tensor in each variant.
        first: Which of its elements comes first.
        count: Number of elements.
    """

    changes: Sequence[TensorChange]
    first: int
    count: int

    @property
    def stored(self) -> Stored:
        return self.changes[0].stored

    @property
    def item_size(self) -> int:
        return self.stored.size // self.stored.count

    @property
    def offset(self) -> int:
        return self.stored.offset + self.first * self.item_size

    @property
    def size(self) -> int:
        return self.count * self.item_size

    def size_made(self, variant: int) -> int:
        return self.count * self.changes[variant].size // self.stored.count


def _pieces(together: Iterable[Sequence[TensorChange]]) -> Iterator[_Piece]:
    for changes in together:
        stored = changes[0].stored
        if stored.size:
            row = max((change.width for change in changes if change.shares), default=1)
            step = max(BLOCK * stored.count // stored.size // row, 1) * row
            for first in range(0, stored.count, step):
                yield _Piece(changes, first, min(step, stored.count - first))


def _blocks(together: Iterable[Sequence[TensorChange]], starts: Container[tuple[Path, str]]) -> Iterator[list[_Piece]]:
    """Pieces that lie one after the other in one file, and do so in every variant, as many as fill a block."""
    block: list[_Piece] = []
    for piece in _pieces(together):
        if block:
            last, size = block[-1], piece.offset + piece.size - block[0].offset
            follows = last.stored.path == piece.stored.path and last.offset + last.size == piece.offset
            begins = piece.first == 0 and _tensor_at(piece.changes[0]) in starts
            if begins or not follows or size > BLOCK:
                yield block
                block = []
        block.append(piece)
    if block:
        yield block


def _tensor_at(change: TensorChange) -> tuple[Path, str]:
    return change.stored.path, change.stored.key


def _made(
    block: Sequence[_Piece],
    read: memoryview,
    buffers: _Buffers,
    losses: Sequence[RoundingLoss | None],
) -> list[memoryview]:
    """The bytes of a block as they are written, for each variant, from what was read of it."""
    found = []
    for variant, loss in enumerate(losses):
        changes = [piece.changes[variant] for piece in block]
        same = all(change.dtype == change.stored.dtype for change in changes)
        plain = all(change.is_plain for change in changes)
        # Sums take the place of what was read where no other variant needs that.
        in_place = plain or (same and len(losses) == 1)
        made = read if in_place else buffers.take(sum(piece.size_made(variant) for piece in block))
        source = target = 0
        for piece, change in zip(block, changes, strict=True):
            size = piece.size_made(variant)
            if not change.is_plain:
                add(change, piece.first, piece.count, read[source:], made[target:], loss)
            elif made is not read:
                made[target : target + piece.size] = read[source : source + piece.size]
            source, target = source + piece.size, target + size
        found.append(made)
    if all(made is not read for made in found):
        buffers.give(read)
    return found


def _read_block(block: Sequence[_Piece], buffers: _Buffers, places: Mapping[Path, FileBytes]) -> memoryview:
    first, last = block[0], block[-1]
    read = buffers.take(last.offset + last.size - first.offset)
    places[first.stored.path].read_into(read, first.offset)
    return read
