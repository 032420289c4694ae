"""Safetensors files: opened with every doubt, written the same to the byte.

The library writes two or more metadata keys in random order and leaves files readable by their owner only
(safetensors 0.8.0), so the header is written here. Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.errors import LoramergeError, SourceError
from loramerge.layout import header

if TYPE_CHECKING:
    from torch import Tensor

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class TensorFile:
    """An open safetensors file. Tensors are mapped from disk when they are asked for, not before."""

    path: Path
    metadata: Mapping[str, str]
    keys: tuple[str, ...]
    _handle: Any

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, from the header."""
        return tuple(self._handle.get_slice(key).get_shape())

    def dtype(self, key: str) -> str:
        """Number format of a tensor as the header spells it (`F16`, `BF16`, …)."""
        return str(self._handle.get_slice(key).get_dtype())

    def tensor(self, key: str) -> Tensor:
        """The tensor, on the CPU, in its own number format."""
        tensor: Tensor = self._handle.get_tensor(key)
        return tensor


@contextmanager
def opened(path: Path, shown_as: str | None = None) -> Iterator[TensorFile]:
    """Open a safetensors file for reading.

    Args:
        path: The file.
        shown_as: What errors call it; the path by default.

    Raises:
        SourceError: Missing, empty, a pickle, truncated, or not safetensors at all.
    """
    from safetensors import SafetensorError, safe_open

    shown = shown_as or str(path)
    _refuse_what_is_none(path, shown)
    try:
        with safe_open(path, framework="pt", device="cpu") as handle:
            yield TensorFile(path, dict(handle.metadata() or {}), tuple(sorted(handle.keys())), handle)
    except SafetensorError as error:
        raise SourceError(
            f"{shown} is not a sound safetensors file: {error}",
            hint="fetch the file again; it is damaged or was never safetensors",
        ) from None


def _refuse_what_is_none(path: Path, shown: str) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise SourceError(f"{shown} can't be read: {error.strerror or error}") from None
    if not start:
        raise SourceError(f"{shown} is an empty file", hint="fetch it again")
    if start.startswith(_PICKLE_STARTS):
        raise SourceError(
            f"{shown} holds a pickle, whatever its name says: a pickle can run code when it is opened",
            hint="only safetensors is read; ask its author for a safetensors file",
        )


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file: sorted header, mode 0644 less the umask, same input → same bytes.

    Args:
        path: Where to; its folder exists.
        tensors: By key; any shapes, one of the floating-point formats.
        metadata: Written with sorted keys.

    Raises:
        LoramergeError: The disk is full or the file can't be written.
    """
    import torch

    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
    start = header(
        ((key, names[tensors[key].dtype], tuple(tensors[key].shape), tensors[key].nbytes) for key in sorted(tensors)),
        metadata,
    )
    try:
        with path.open("wb") as file:
            file.write(start)
            for key in sorted(tensors):
                flat = tensors[key].detach().cpu().contiguous().reshape(-1)
                file.write(flat.view(torch.uint8).numpy().data)
    except OSError as error:
        raise LoramergeError(f"{path} can't be written: {error.strerror or error}") from None
