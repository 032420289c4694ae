"""DARE's random masks, each from a key of its own: no order of modules, thread or device changes them.

The bits are those of Philox4x64-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011), a function
of key and counter without a state. On the CPU NumPy computes it, elsewhere the same integer steps on tensors.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_INCREMENTS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10
_WORDS = 1 << 64
_WORD_BITS, _BLOCK_BITS = 64, 256
_HALF_BITS = 32
_HALF_MASK = (1 << _HALF_BITS) - 1
_SHORT_FROM = 0.1
_CHUNK = 1 << 18


def keep_mask(shape: Sequence[int], density: float, key: tuple[object, ...], device: str | torch.device) -> Tensor:
    """Which values stay: each with probability `density`, to within 2⁻¹⁷, or 2⁻³³ where the density is below 0.1.

    Args:
        shape: Of the mask; its values are numbered in row-major order.
        density: Above 0; from 1 on everything stays.
        key: What the mask is for, such as seed, LoRA and module. Other keys give independent masks.
        device: Where the mask is wanted; the bits are the same everywhere.

    Returns:
        A tensor of truth values.
    """
    import torch

    draw = Draw(math.prod(shape), 16 if density >= _SHORT_FROM else 32, density, key)
    if draw.limit >= 1 << draw.bits:
        return torch.ones(*shape, dtype=torch.bool, device=device)
    on_cpu = torch.device(device).type == "cpu"
    return (draw.on_cpu() if on_cpu else draw.on_device(device)).view(*shape)


@dataclass(frozen=True)
class Draw:
    """So many random numbers, and which of them lie below the density.

    Attributes:
        total: How many.
        bits: Of each number: 16 or 32.
        density: The share that is kept.
        key: Whose numbers they are.
    """

    total: int
    bits: int
    density: float
    key: tuple[object, ...]

    @property
    def limit(self) -> int:
        """Numbers below this one stay."""
        return round(self.density * (1 << self.bits))

    def on_cpu(self) -> Tensor:
        """By NumPy's generator."""
        import numpy as np
        import torch

        words, number = self._words, np.dtype(f"<u{self.bits // 8}")
        source = np.random.Philox(
            key=np.array(words[:2], dtype=np.uint64), counter=np.array([0, 0, *words[2:]], dtype=np.uint64)
        )
        # Over its whole range it gives the source's own words; `random_raw` does too, but lets no other thread work.
        draw = np.random.Generator(source).integers
        keep = np.empty(self.total, dtype=bool)
        for start in range(0, self.total, _CHUNK):
            end = min(start + _CHUNK, self.total)
            raw = draw(_WORDS - 1, size=4 * self._blocks(end - start), dtype=np.uint64, endpoint=True)
            numbers = raw.astype("<u8", copy=False).view(number)[: end - start]
            np.less(numbers, number.type(self.limit), out=keep[start:end])
        return torch.from_numpy(keep)

    def on_device(self, device: str | torch.device) -> Tensor:
        """The same numbers from tensor operations, on any device."""
        import torch

        # NumPy counts before it draws: its first block has the counter 1.
        words = self._words
        first = torch.arange(1, self._blocks(self.total) + 1, dtype=torch.int64, device=device)
        second = torch.zeros_like(first)
        third, fourth = (torch.full_like(first, _signed(word)) for word in words[2:])
        keys = list(words[:2])
        for _ in range(_ROUNDS):
            high_first, low_first = _product(first, _MULTIPLIERS[0])
            high_third, low_third = _product(third, _MULTIPLIERS[1])
            first, second = high_third ^ second ^ _signed(keys[0]), low_third
            third, fourth = high_first ^ fourth ^ _signed(keys[1]), low_first
            keys = [(key + increment) % _WORDS for key, increment in zip(keys, _INCREMENTS, strict=True)]
        drawn = torch.stack([first, second, third, fourth], 1).view(-1, 1)
        shifts = torch.arange(0, _WORD_BITS, self.bits, device=device)
        numbers = (drawn >> shifts) & ((1 << self.bits) - 1)
        return numbers.view(-1)[: self.total] < self.limit

    @property
    def _words(self) -> tuple[int, int, int, int]:
        """Philox's key, two words, and the part of its counter that never changes, two more."""
        text = "\x1f".join(("loramerge/dare/1", *map(str, self.key)))
        first, second, third, fourth = struct.unpack("<4Q", hashlib.blake2b(text.encode(), digest_size=32).digest())
        return first, second, third, fourth

    def _blocks(self, numbers: int) -> int:
        return -(-numbers * self.bits // _BLOCK_BITS)


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
