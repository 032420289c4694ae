"""Safetensors files: opened with every doubt, written the same to the byte.

The library writes two or more metadata keys in random order and leaves files readable by their owner only
(safetensors 0.8.0), so the header is written here. Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from loramerge.errors import LoramergeError
from loramerge.files.file_view import FileBytes
from loramerge.files.writing import writing
from loramerge.numerics.threads import in_order, workers
from loramerge.tensor_files.header import ITEM_SIZES, Stored, header, stored_at
from loramerge.tensor_files.lazy import StoredTensor
from loramerge.tensor_files.write_behind import SteadyWriter

if TYPE_CHECKING:
    from loramerge.tensor_files.planned import Planned
    from loramerge.tensor_files.stacked import ExpertFactor

_AHEAD = 16  # tensors that are made before the first of them is written


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file that was found sound. Tensors are read when they are asked for, not before.

    Attributes:
        place: The file.
        metadata: What it says of itself.
        stored: Where each tensor lies, by key, sorted.
        shares: Tensors that are parts of others, by the keys that they would have.
    """

    place: FileBytes
    metadata: Mapping[str, str]
    stored: Mapping[str, Stored]
    shares: Mapping[str, ExpertFactor] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the tensors, sorted; then those of the shares."""
        return (*self.stored, *self.shares)

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, from the header."""
        return (self.stored if key in self.stored else self.shares)[key].shape

    def dtype(self, key: str) -> str:
        """Number format of a tensor as the header spells it (`F16`, `BF16`, …)."""
        return (self.stored if key in self.stored else self.shares)[key].dtype

    def shown(self, key: str) -> str:
        """What errors call a tensor or a share."""
        return key if key in self.stored else f"{self.shares[key].key} (expert {self.shares[key].expert})"

    def numbers(self, key: str) -> StoredTensor | ExpertFactor:
        """The tensor or share, left where it is."""
        return self.tensor(key) if key in self.stored else self.shares[key]

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
        SourceError: Missing, empty, a pickle, a Git LFS pointer, truncated, or not safetensors at all.
    """
    place = FileBytes.at(path, shown_as or str(path))
    metadata, stored = stored_at(place)
    return TensorFile(place, metadata, {tensor.key: tensor for tensor in sorted(stored, key=lambda each: each.key)})


class Seal(Protocol):
    """Metadata that depend on what was written."""

    def __call__(
        self, planned: Sequence[Planned], metadata: Mapping[str, str], content: str, start: int, file: BinaryIO, /
    ) -> Mapping[str, str]:
        """What takes the place of metadata of the same length.

        Args:
            planned: The tensors, in the order in which they lie in the file.
            metadata: As they were written.
            content: SHA-256 of all that follows the header, 64 hex digits.
            start: Where that begins.
            file: Open for reading.
        """


def write(
    path: Path, tensors: Sequence[Planned], metadata: Mapping[str, str], *, seal: Seal | None = None
) -> str | None:
    """Write a safetensors file: sorted header, mode 0644 less the umask, same input → same bytes.

    Tensors lie as the library lays them: the wider numbers first, so that all are aligned, and by name. They are made
    side by side, a few at a time, and digested while they are written.

    Args:
        path: Where to; its folder exists.
        tensors: In any order.
        metadata: Written with sorted keys.
        seal: Knows better values for some metadata when the tensors are written.

    Returns:
        SHA-256 of the file, 64 hex digits; None where it was sealed: nobody knows it who does not read the file once
        more, and not everybody asks.

    Raises:
        LoramergeError: The disk is full, the file can't be written, or a tensor can't be made.
    """
    ordered = sorted(tensors, key=lambda tensor: (-ITEM_SIZES[tensor.dtype], tensor.key))
    start = _header(ordered, metadata)
    digest = hashlib.sha256(b"" if seal else start)
    with writing(path), path.open("wb") as file, workers() as pool, ThreadPoolExecutor(1) as hasher:
        writer = SteadyWriter(file)

        def written() -> Iterator[memoryview]:
            writer.write(start)
            for data in in_order(pool, _made, ordered, ahead=_AHEAD):
                writer.write(data)
                yield data

        def hashed(data: memoryview) -> None:
            digest.update(data)
            writer.let_go()

        for _ in in_order(hasher, hashed, written(), ahead=_AHEAD):
            pass
    if seal is None:
        return digest.hexdigest()
    with writing(path), path.open("r+b") as finished:
        found = seal(ordered, metadata, digest.hexdigest(), len(start), finished)
        sealed = _header(ordered, {**metadata, **found})
        if len(sealed) != len(start):
            raise LoramergeError(f"{path}: its metadata have {len(sealed)} bytes, and {len(start)} were planned")
        finished.seek(0)
        finished.write(sealed)
    return None


def _header(planned: Sequence[Planned], metadata: Mapping[str, str]) -> bytes:
    return header(((each.key, each.dtype, each.shape, each.size) for each in planned), metadata)


def _made(planned: Planned) -> memoryview:
    import torch

    tensor = planned.make().contiguous().reshape(-1)
    data: memoryview = tensor.view(torch.uint8).numpy().data
    if len(data) != planned.size:
        raise LoramergeError(f"{planned.key} has {len(data)} bytes, and {planned.size} were planned")
    return data
