"""Where the tensors of a safetensors file lie, and the header that says so.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import SourceError
from loramerge.files.file_view import FileBytes
from loramerge.files.tensor_header import TensorEntry, read_header

if TYPE_CHECKING:
    import torch

ITEM_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
STORED_AS = {
    "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"
}  # fmt: skip
"""How a header spells the number formats that a recipe can ask for."""


def narrowest(formats: Iterable[str]) -> str:
    """The number format of those in `STORED_AS` that holds every number of some formats; float32 of float64's most.

    Args:
        formats: As torch spells them, such as `float16` and `float8_e5m2`.
    """
    wide = {each for each in formats if not each.startswith("float8")}  # which float16 and bfloat16 hold alike
    if not wide:
        return "float16"
    return wide.pop() if len(wide) == 1 and wide <= {*STORED_AS} else "float32"


_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8


@dataclass(frozen=True)
class Stored(TensorEntry):
    """A tensor in a file.

    Attributes:
        place: The file.
    """

    place: FileBytes

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.place.path

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def layout(path: Path) -> tuple[Stored, ...]:
    """All tensors of a file, in the order in which they lie there.

    Raises:
        SourceError: It is no sound safetensors file.
    """
    return stored_at(FileBytes.at(path, str(path)))[1]


def stored_at(place: FileBytes) -> tuple[Mapping[str, str], tuple[Stored, ...]]:
    """What a file says of itself, and all of its tensors in the order in which they lie there.

    Raises:
        SourceError: It is no sound safetensors file.
    """
    found = read_header(place)
    return found.metadata, tuple(
        Stored(entry.key, entry.dtype, entry.shape, entry.offset, entry.size, place) for entry in found.entries
    )


def header(tensors: Iterable[tuple[str, str, tuple[int, ...], int]], metadata: Mapping[str, str]) -> bytes:
    """What a file begins with: the same bytes for the same tensors and metadata.

    Args:
        tensors: Key, number format, shape and size in bytes of each, in the order in which they follow.
        metadata: Written with sorted keys.
    """
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    offset = 0
    for key, dtype, shape, size in tensors:
        entries[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % _ALIGNMENT)
    return _LENGTH.pack(len(encoded)) + encoded


def torch_dtype(name: str) -> torch.dtype:
    """Torch's number format for one that a header names.

    Raises:
        SourceError: Torch has none, or loramerge never meets it.
    """
    import torch

    known = {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2,
        "I64": torch.int64,
        "I32": torch.int32,
        "I16": torch.int16,
        "I8": torch.int8,
        "U8": torch.uint8,
        "BOOL": torch.bool,
    }
    if name not in known:
        raise SourceError(
            f"numbers of the format {name} can't be read", hint=f"convert them to one of {', '.join(known)}"
        )
    return known[name]
