"""What a safetensors file says of itself before any tensor is read, and whether that can be true.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loramerge.errors import SourceError
from loramerge.files.lfs import refuse_pointer
from loramerge.files.pickles import refuse_pickle
from loramerge.files.texts import refuse_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loramerge.files.file_view import FileBytes

_LENGTH = 8  # bytes that say how long the header is
_LONGEST = 100_000_000  # as the safetensors library has it
_PEEK = 256
_LARGEST = 1 << 63  # bytes of a file, and numbers of a tensor
# Bits of an element. https://github.com/huggingface/safetensors/blob/main/safetensors/src/tensor.rs
_BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64}
_BITS |= {f"{sign}{bits}": bits for sign in "IU" for bits in (8, 16, 32, 64)}
_BITS |= {"F16": 16, "BF16": 16, "F32": 32, "F64": 64}
_BITS |= dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8)


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies.

    Attributes:
        key: Its name.
        dtype: Number format as the header spells it (`F16`, `BF16`, …).
        shape: Of the tensor.
        offset: Where its bytes begin in the file.
        size: Their number.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True)
class TensorHeader:
    """The header of a sound file.

    Attributes:
        metadata: What the file says of itself.
        entries: All tensors, in the order in which they lie in the file.
    """

    metadata: Mapping[str, str]
    entries: tuple[TensorEntry, ...]


def read_header(place: FileBytes) -> TensorHeader:
    """Read a header; of the file no more than that, whatever its size.

    Raises:
        SourceError: It is empty, truncated, damaged, or something else: a pickle, a text, a Git LFS pointer.
    """
    try:
        text = _text(place)
        start = _LENGTH + len(text)
        return _parsed(text, place.version.size - start, start)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{place.shown_as} is not a sound safetensors file: {error}",
            hint="fetch the file again; it is damaged or was never safetensors",
        ) from None


def _text(place: FileBytes) -> bytearray:
    """The header's JSON.

    Raises:
        SourceError: The file is something else.
        ValueError: It has no header; the message says why.
    """
    size, shown = place.version.size, place.shown_as
    start = bytearray(min(size, _PEEK))
    place.read_into(memoryview(start), 0)
    if not start:
        raise SourceError(f"{shown} is an empty file", hint="fetch it again")
    refuse_pointer(bytes(start), size, shown)
    length, room = int.from_bytes(start[:_LENGTH], "little"), size - _LENGTH
    begins = start[_LENGTH : _LENGTH + 1] == b"{"
    if length > room or not begins:
        refuse_pickle(bytes(start), shown)
        refuse_text(bytes(start), shown)
    if length > min(room, _LONGEST):
        raise ValueError(f"its header would be {length} bytes long, and the file has {size}")
    if not begins:
        raise ValueError("it does not begin with a header")
    text = bytearray(length)
    place.read_into(memoryview(text), _LENGTH)
    return text


def _parsed(text: bytes | bytearray, room: int, start: int) -> TensorHeader:
    """Read the header's JSON.

    Args:
        text: The JSON.
        room: Bytes behind the header.
        start: Where they begin in the file.

    Raises:
        ValueError: It is none, or contradicts the file; the message says why.
    """
    try:
        data = json.loads(text.decode(), object_pairs_hook=_without_twins)
    except UnicodeDecodeError:
        raise ValueError("its header is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is no JSON: {error}") from None
    metadata = data.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is no mapping of texts")
    entries = sorted(
        (_entry(key, entry, start) for key, entry in data.items()), key=lambda each: (each.offset, each.size)
    )
    end = start
    for entry in entries:
        if entry.offset != end:
            raise ValueError(f"{entry.key!r} does not begin where the tensor before it ends")
        end = entry.offset + entry.size
    if end - start != room:
        raise ValueError(f"its tensors take {end - start} bytes, and {room} are there")
    return TensorHeader(metadata, tuple(entries))


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header has a key twice")
    return found


def _entry(key: str, entry: object, start: int) -> TensorEntry:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(first), int(end)], **more} if not more:
            sizes = [each for each in (first, end, *shape) if type(each) is int and each >= 0]
            sound = len(sizes) == 2 + len(shape) and max(sizes) < _LARGEST
            if dtype in _BITS and sound and 8 * (end - first) == _numbers_in(shape) * _BITS[dtype]:
                return TensorEntry(key, dtype, tuple(shape), start + first, end - first)
    raise ValueError(f"its header says of {key!r} what can't be: {str(entry)[:200]}")


def _numbers_in(shape: list[int]) -> int:
    """How many numbers a tensor has; of one that no file holds, some number that is too large."""
    if 0 in shape:
        return 0
    found = 1
    for size in shape:
        found *= size
        if found > _LARGEST:  # or a header of a hundred megabytes would be multiplied for days
            break
    return found
