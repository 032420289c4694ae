"""DARE's random masks, each from a key of its own: no order of modules, thread or device changes them.

The bits are those of Philox4x64-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011), a function
of key and counter without a state. On the CPU NumPy computes it, elsewhere the same integer steps on tensors.
"""

from __future__ import annotations

import hashlib
import math
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator
    from numpy.typing import NDArray
    from torch import Tensor

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_INCREMENTS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10
_WORDS = 1 << 64
_WORD_BITS, _BLOCK_BITS = 64, 256
_HALF_BITS = 32
_HALF_MASK = (1 << _HALF_BITS) - 1
_CHUNK = 1 << 18
_FIRST, _SECOND = 0, 1  # streams of a key: a byte for every value, four more for those whose byte does not decide
_EACH = 2  # another stream: four bytes for every value


def keep_mask(
    shape: Sequence[int], density: float | Tensor, key: tuple[object, ...], device: str | torch.device
) -> Tensor:
    """Which values stay: each with probability `density`, to within 2⁻⁴⁰, or with one of its own, to within 2⁻³².

    A random byte decides for all but one value in 256, whose byte is the density's own; four bytes more decide there.
    Where each value has a density of its own, four bytes do.

    Args:
        shape: Of the mask; its values are numbered in row-major order.
        density: Above 0; from 1 on everything stays. A tensor of that shape has one for each value.
        key: What the mask is for, such as seed, LoRA and module. Other keys give independent masks.
        device: Where the mask is wanted; the bits are the same everywhere.

    Returns:
        A tensor of truth values.
    """
    import torch

    if not isinstance(density, int | float):
        return _kept_each(density, _words_of(key), device).view(*shape)
    if density >= 1:
        return torch.ones(*shape, dtype=torch.bool, device=device)
    draw = Draw(math.prod(shape), density, key)
    on_cpu = torch.device(device).type == "cpu"
    return (draw.on_cpu() if on_cpu else draw.on_device(device)).view(*shape)


@dataclass(frozen=True)
class Draw:
    """So many random numbers, and which of them lie below the density.

    Attributes:
        total: How many.
        density: The share that is kept, below 1.
        key: Whose numbers they are.
    """

    total: int
    density: float
    key: tuple[object, ...]

    @property
    def _limits(self) -> tuple[int, int]:
        """Bytes below the first stay; where one equals it, 32 bits below the second do."""
        rest, limit = math.modf(self.density * (1 << 8))
        return int(limit), int(rest * (1 << 32))

    def on_cpu(self) -> Tensor:
        """By NumPy's generator."""
        import numpy as np
        import torch

        words, (limit, rest) = _words_of(self.key), self._limits
        keep = np.empty(self.total, dtype=bool)
        undecided = []
        draw = _generator(words, _FIRST)
        for start in range(0, self.total, _CHUNK):
            end = min(start + _CHUNK, self.total)
            drawn = _drawn(draw, end - start, 8)
            np.less(drawn, drawn.dtype.type(limit), out=keep[start:end])
            if rest:
                undecided.append(np.flatnonzero(drawn == drawn.dtype.type(limit)) + start)
        if rest:
            places = np.concatenate(undecided)
            drawn = _drawn(_generator(words, _SECOND), len(places), 32)
            keep[places] = drawn < drawn.dtype.type(rest)
        return torch.from_numpy(keep)

    def on_device(self, device: str | torch.device) -> Tensor:
        """The same numbers from tensor operations, on any device."""
        words, (limit, rest) = _words_of(self.key), self._limits
        drawn = _numbers(words, _FIRST, self.total, 8, device)
        keep = drawn < limit
        if rest:
            places = (drawn == limit).nonzero().view(-1)
            keep[places] = _numbers(words, _SECOND, len(places), 32, device) < rest
        return keep


def _words_of(key: tuple[object, ...]) -> tuple[int, int, int, int]:
    """Philox's key, two words, and the part of its counter that never changes, two more."""
    text = "\x1f".join(("loramerge/dare/2", *map(str, key)))
    first, second, third, fourth = struct.unpack("<4Q", hashlib.blake2b(text.encode(), digest_size=32).digest())
    return first, second, third, fourth


def _kept_each(densities: Tensor, words: tuple[int, int, int, int], device: str | torch.device) -> Tensor:
    """32 bits for each value, and whether they are below its density."""
    import numpy as np
    import torch

    flat = densities.reshape(-1)
    if torch.device(device).type != "cpu":
        return _numbers(words, _EACH, len(flat), _HALF_BITS, device) < flat.double() * (1 << _HALF_BITS)
    limits, keep = flat.numpy(), np.empty(len(flat), dtype=bool)
    draw = _generator(words, _EACH)
    for start in range(0, len(flat), _CHUNK):
        end = min(start + _CHUNK, len(flat))
        np.less(
            _drawn(draw, end - start, _HALF_BITS),
            limits[start:end].astype(np.float64) * (1 << _HALF_BITS),
            keep[start:end],
        )
    return torch.from_numpy(keep)


_of_thread = threading.local()


def _generator(words: tuple[int, int, int, int], stream: int) -> Generator:
    """NumPy's, at the beginning of a stream. Each thread has one: a new one takes as long as 10,000 numbers."""
    import numpy as np

    generator: Generator | None = getattr(_of_thread, "generator", None)
    if generator is None:
        generator = _of_thread.generator = np.random.Generator(np.random.Philox(0))
    counter, key = np.array([0, stream, *words[2:]], dtype=np.uint64), np.array(words[:2], dtype=np.uint64)
    generator.bit_generator.state = {
        "bit_generator": "Philox",
        "state": {"counter": counter, "key": key},
        "buffer": np.zeros(_BLOCK_BITS // _WORD_BITS, dtype=np.uint64),
        "buffer_pos": _BLOCK_BITS // _WORD_BITS,
        "has_uint32": 0,
        "uinteger": 0,
    }
    return generator


def _drawn(generator: Generator, count: int, bits: int) -> NDArray[Any]:
    """The next numbers of so many bits; what is left of a block of 256 bits is dropped."""
    import numpy as np

    size = _BLOCK_BITS // _WORD_BITS * _block_count(count, bits)
    # Over its whole range it gives the source's own words; `random_raw` does too, but lets no other thread work.
    raw = generator.integers(_WORDS - 1, size=size, dtype=np.uint64, endpoint=True)
    return raw.astype("<u8", copy=False).view(f"<u{bits // 8}")[:count]


def _numbers(
    words: tuple[int, int, int, int], stream: int, count: int, bits: int, device: str | torch.device
) -> Tensor:
    """The first numbers of a stream, of so many bits."""
    import torch

    # NumPy counts before it draws: its first block has the counter 1.
    first = torch.arange(1, _block_count(count, bits) + 1, dtype=torch.int64, device=device)
    second, third, fourth = (torch.full_like(first, _signed(word)) for word in (stream, *words[2:]))
    keys = list(words[:2])
    for _ in range(_ROUNDS):
        high_first, low_first = _product(first, _MULTIPLIERS[0])
        high_third, low_third = _product(third, _MULTIPLIERS[1])
        first, second = high_third ^ second ^ _signed(keys[0]), low_third
        third, fourth = high_first ^ fourth ^ _signed(keys[1]), low_first
        keys = [(key + increment) % _WORDS for key, increment in zip(keys, _INCREMENTS, strict=True)]
    drawn = torch.stack([first, second, third, fourth], 1).view(-1, 1)
    shifts = torch.arange(0, _WORD_BITS, bits, device=device)
    return ((drawn >> shifts) & ((1 << bits) - 1)).view(-1)[:count]


def _block_count(count: int, bits: int) -> int:
    return -(-count * bits // _BLOCK_BITS)


def _signed(word: int) -> int:
    """A word of 64 bits as the signed integer with the same bits."""
    return word - _WORDS if word >= _WORDS // 2 else word


def _product(word: Tensor, multiplier: int) -> tuple[Tensor, Tensor]:
    """The high and the low word of an unsigned product of 128 bits; int64 wraps around without changing bits."""
    low, high = multiplier & _HALF_MASK, multiplier >> _HALF_BITS
    word_low, word_high = word & _HALF_MASK, (word >> _HALF_BITS) & _HALF_MASK
    low_low, low_high, high_low = word_low * low, word_low * high, word_high * low
    carried = ((low_low >> _HALF_BITS) & _HALF_MASK) + (low_high & _HALF_MASK) + (high_low & _HALF_MASK)
    upper = (low_high >> _HALF_BITS & _HALF_MASK) + (high_low >> _HALF_BITS & _HALF_MASK) + (carried >> _HALF_BITS)
    return word_high * high + upper, word * _signed(multiplier)
