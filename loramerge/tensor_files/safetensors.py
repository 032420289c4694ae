"""Safetensors files: opened with every doubt, written the same to the byte.

The library writes two or more metadata keys in random order and leaves files readable by their owner only
(safetensors 0.8.0), so the header is written here. Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import LoramergeError, SourceError
from loramerge.files.file_view import FileBytes
from loramerge.files.reading import open_file, reading
from loramerge.files.writing import writing
from loramerge.numerics.threads import in_order, workers
from loramerge.tensor_files.header import Stored, header, layout
from loramerge.tensor_files.lazy import StoredTensor
from loramerge.tensor_files.write_behind import SteadyWriter

if TYPE_CHECKING:
    from loramerge.tensor_files.planned import Planned

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_AHEAD = 16  # tensors that are made before the first of them is written


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file that was found sound. Tensors are read when they are asked for, not before.

    Attributes:
        place: The file.
        metadata: What it says of itself.
        stored: Where each tensor lies, by key, sorted.
    """

    place: FileBytes
    metadata: Mapping[str, str]
    stored: Mapping[str, Stored]

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the tensors, sorted."""
        return tuple(self.stored)

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, from the header."""
        return self.stored[key].shape

    def dtype(self, key: str) -> str:
        """Number format of a tensor as the header spells it (`F16`, `BF16`, …)."""
        return self.stored[key].dtype

    def tensor(self, key: str) -> StoredTensor:
        """The tensor, left where it is."""
        stored = self.stored[key]
        return StoredTensor(self.place, stored.offset, stored.dtype, stored.shape)


def opened(path: Path, shown_as: str | None = None) -> TensorFile:
    """A safetensors file for reading.

    Args:
        path: The file.
        shown_as: What errors call it; the path by default.

    Raises:
        SourceError: Missing, empty, a pickle, truncated, or not safetensors at all.
    """
    from safetensors import SafetensorError, safe_open

    shown = shown_as or str(path)
    _refuse_what_is_none(path, shown)
    place = FileBytes.at(path, shown)
    try:
        with safe_open(path, framework="np") as handle:
            metadata = dict(handle.metadata() or {})
    except SafetensorError as error:
        raise SourceError(
            f"{shown} is not a sound safetensors file: {error}",
            hint="fetch the file again; it is damaged or was never safetensors",
        ) from None
    stored = {tensor.key: tensor for tensor in layout(path)}
    return TensorFile(place, metadata, dict(sorted(stored.items())))


def _refuse_what_is_none(path: Path, shown: str) -> None:
    with reading(shown), open_file(path) as file:
        start, size = file.read(9), os.fstat(file.fileno()).st_size
    if not start:
        raise SourceError(f"{shown} is an empty file", hint="fetch it again")
    # The length of a sound header can begin with the bytes of a pickle: 640 is 80 02.
    may_be_header = start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8
    if start.startswith(_PICKLE_STARTS) and not may_be_header:
        raise SourceError(
            f"{shown} holds a pickle, whatever its name says: a pickle can run code when it is opened",
            hint="only safetensors is read; ask its author for a safetensors file",
        )


def write(path: Path, tensors: Sequence[Planned], metadata: Mapping[str, str]) -> str:
    """Write a safetensors file: sorted header, mode 0644 less the umask, same input → same bytes.

    Tensors are made side by side, a few at a time, and digested while they are written.

    Args:
        path: Where to; its folder exists.
        tensors: In any order.
        metadata: Written with sorted keys.

    Returns:
        SHA-256 of the file, 64 hex digits.

    Raises:
        LoramergeError: The disk is full, the file can't be written, or a tensor can't be made.
    """
    ordered = sorted(tensors, key=lambda tensor: tensor.key)
    start = header(((each.key, each.dtype, each.shape, each.size) for each in ordered), metadata)
    digest = hashlib.sha256(start)
    with writing(path), path.open("wb") as file, workers() as pool, ThreadPoolExecutor(1) as hasher:
        writer = SteadyWriter(file)

        def written() -> Iterator[memoryview]:
            writer.write(start)
            for data in in_order(pool, _made, ordered, ahead=_AHEAD):
                writer.write(data)
                yield data

        for _ in in_order(hasher, digest.update, written(), ahead=_AHEAD):
            pass
    return digest.hexdigest()


def _made(planned: Planned) -> memoryview:
    import torch

    tensor = planned.make().contiguous().reshape(-1)
    data: memoryview = tensor.view(torch.uint8).numpy().data
    if len(data) != planned.size:
        raise LoramergeError(f"{planned.key} has {len(data)} bytes, and {planned.size} were planned")
    return data
