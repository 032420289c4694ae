"""A safetensors file without its numbers: enough to find out by names and shapes what it is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from loramerge.errors import SourceError
from loramerge.files.file_view import FileBytes
from loramerge.files.tensor_header import read_header

_ONE = {"F64": struct.pack("<d", 1), "F32": struct.pack("<f", 1), "F16": struct.pack("<e", 1), "BF16": b"\x80\x3f"}
_ONE |= {f"{sign}{bits}": (1).to_bytes(bits // 8, "little") for sign in "IU" for bits in (8, 16, 32, 64)}

_FIRST = 128 * 1024
"""Bytes that hold most headers of LoRAs."""
_LENGTH = 8
_LONGEST = 25_000_000
"""Bytes of a header that is fetched; a LoRA's has less than a tenth."""


def header_by(start_of: Callable[[int], bytes]) -> bytes:
    """With what a safetensors file far away begins: at least all of its header, if it has one.

    Args:
        start_of: Fetches so many bytes from the beginning of the file, or all that it has.
    """
    start = start_of(_FIRST)
    whole = _LENGTH + int.from_bytes(start[:_LENGTH], "little")
    return start if not len(start) < whole <= _LONGEST else start_of(whole)


def write_outline(file: Path, start: bytes, size: int) -> None:
    """Write the header of a file, and behind it a hole as large as its tensors.

    Single numbers, which alphas are, become 1: an alpha of 0 would be refused before anything else is looked at. What
    is no safetensors file stays none.

    Args:
        file: Where to; its folder exists.
        start: With what the file begins, at least all of its header.
        size: Of the whole file, in bytes.

    Raises:
        OSError: It can't be written.
    """
    with file.open("wb") as stream:
        stream.write(start[:size])
        stream.truncate(size)
    try:
        entries = read_header(FileBytes.at(file, file.name)).entries
    except SourceError:  # whoever reads it says what it is
        return
    with file.open("r+b") as stream:
        for entry in entries:
            if entry.size == len(one := _ONE.get(entry.dtype, b"")):
                stream.seek(entry.offset)
                stream.write(one)
