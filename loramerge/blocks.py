"""Safetensors files of any size in little memory: read in blocks, computed where something changes, written in order.

Which elements make a block depends on the tensors alone, so that the bytes are the same for any number of threads.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import LoramergeError, SourceError
from loramerge.layout import ITEM_SIZES, Stored, header
from loramerge.threads import in_order, workers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from loramerge.adapter import LowRank

BLOCK = 1 << 20
"""Bytes read at once: with the float32 sums it stays in a core's cache."""
_AHEAD = 8  # blocks that are computed before the first of them is written
_METADATA = {"format": "pt"}


@dataclass(frozen=True)
class Change:
    """A tensor on its way from one file to another.

    Attributes:
        stored: Where it is.
        dtype: Number format in which it is written, as a header spells it.
        pair: What is added to it; its `shape` is the tensor's, or that of an equal map.
        shown_as: What errors call it.
    """

    stored: Stored
    dtype: str
    pair: LowRank | None
    shown_as: str

    @property
    def size(self) -> int:
        """Bytes that it takes when it is written."""
        return self.stored.size if self.is_plain else self.stored.count * ITEM_SIZES[self.dtype]

    @property
    def is_plain(self) -> bool:
        """Whether its bytes stay what they are."""
        return self.pair is None and self.dtype == self.stored.dtype


def write_blocks(path: Path, changes: Sequence[Change]) -> str:
    """Write a safetensors file.

    Args:
        path: Where to; its folder exists.
        changes: What it holds, in this order.

    Returns:
        SHA-256 of the file, 64 hex digits.

    Raises:
        SourceError: A source's file is shorter than it was.
        LoramergeError: A result is more than its number format can hold.
        OSError: The file can't be written.
    """
    start = header(((each.stored.key, each.dtype, each.stored.shape, each.size) for each in changes), _METADATA)
    digest = hashlib.sha256(start)
    with path.open("wb") as file, workers() as pool, ThreadPoolExecutor(1) as hasher:
        file.truncate(len(start) + sum(each.size for each in changes))  # a file that grows is slower on ext4
        file.write(start)
        made = in_order(pool, _made, _blocks(changes), ahead=_AHEAD)
        for _ in in_order(hasher, digest.update, _written(file, made), ahead=_AHEAD):
            pass
    return digest.hexdigest()


def _written(file: BufferedWriter, blocks: Iterable[bytearray]) -> Iterator[bytearray]:
    for block in blocks:
        file.write(block)
        yield block


@dataclass(frozen=True)
class _Piece:
    """Some consecutive elements of a tensor; whole rows where something is added to them."""

    change: Change
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


def _pieces(changes: Iterable[Change]) -> Iterator[_Piece]:
    for change in changes:
        stored = change.stored
        if stored.size:
            row = math.prod(stored.shape[1:]) if change.pair else 1
            step = max(BLOCK * stored.count // stored.size // row, 1) * row
            for first in range(0, stored.count, step):
                yield _Piece(change, first, min(step, stored.count - first))


def _blocks(changes: Iterable[Change]) -> Iterator[list[_Piece]]:
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


def _made(block: Sequence[_Piece]) -> bytearray:
    """The bytes of a block as they are written."""
    read = _read(block)
    if all(piece.change.is_plain for piece in block):
        return read
    made = bytearray(sum(piece.count * piece.change.size // piece.change.stored.count for piece in block))
    source = target = 0
    for piece in block:
        size = piece.count * piece.change.size // piece.change.stored.count
        if piece.change.is_plain:
            made[target : target + size] = read[source : source + size]
        else:
            _compute(piece, read, source, made, target)
        source, target = source + piece.size, target + size
    return made


def _read(block: Sequence[_Piece]) -> bytearray:
    first, last = block[0], block[-1]
    path = first.change.stored.path
    read = bytearray(last.offset + last.size - first.offset)
    try:
        with path.open("rb") as file:
            file.seek(first.offset)
            found = file.readinto(read)
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror or error}") from None
    if found != len(read):
        raise SourceError(f"{path} became shorter while it was read", hint="run again when nothing else writes it")
    return read


def _compute(piece: _Piece, read: bytearray, source: int, made: bytearray, target: int) -> None:
    """Add the piece's share of the delta, in float32 (float64 for what is stored so), and round once."""
    import torch

    change = piece.change
    before = torch.frombuffer(read, dtype=_dtype(change.stored.dtype), offset=source, count=piece.count)
    after = torch.frombuffer(made, dtype=_dtype(change.dtype), offset=target, count=piece.count)
    exact = torch.float64 if change.stored.dtype == "F64" else torch.float32
    summed = before.to(exact)
    if change.pair is not None:
        up, down = change.pair.up.flatten(1), change.pair.down.flatten(1)
        row = down.shape[1]
        rows = up[piece.first // row : (piece.first + piece.count) // row]
        summed = summed + ((rows.to(exact) * change.pair.scale) @ down.to(exact)).flatten()
    after.copy_(summed)
    # Rounding keeps the order: if the least and the greatest stay finite, all do.
    if not torch.stack(torch.aminmax(summed)).to(after.dtype).isfinite().all():
        _check_finite(change, before, after)


def _check_finite(change: Change, before: Tensor, after: Tensor) -> None:
    """What the file itself has as infinite is the file's own affair."""
    if bool((before.isfinite() & ~after.isfinite()).any()):
        what = "base plus LoRA is" if change.pair else "the base's values are"
        raise LoramergeError(
            f"{change.shown_as}: {what} more than {after.dtype} can hold".replace("torch.", ""),
            hint="lower lora_scale, or write the pipeline with dtype: bfloat16 or float32",
        )


def _dtype(name: str) -> torch.dtype:
    import torch

    return {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[name]
