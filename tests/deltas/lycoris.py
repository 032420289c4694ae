"""Random modules of every dialect of LyCORIS, each with its delta by the defining formula, in float64.

Shapes after lycoris/functional/*.py (`weight_gen`), which has other ones where it factors a convolution's kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = Sequence[int]


@dataclass(frozen=True)
class Made:
    """A module's tensors by the ends of their keys, what alpha is divided by, and the delta without any scale."""

    tensors: Mapping[str, Tensor]
    rank: int | None
    delta: Tensor


class Random:
    """Seeded normal numbers in float32, small as trained ones are."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator) * 0.2


def lora(shape: Shape, noise: Random, rank: int = 3) -> Made:
    out, inner, *kernel = shape
    down, up = noise(rank, inner, *kernel), noise(out, rank, *[1 for _ in kernel])
    delta = torch.einsum("or,rn->on", up.double().flatten(1), down.double().flatten(1)).reshape(*shape)
    return Made({"lora_down.weight": down, "lora_up.weight": up}, rank, delta)


def tucker(shape: Shape, noise: Random, rank: int = 3) -> Made:
    out, inner, *kernel = shape
    ones = [1 for _ in kernel]
    down, up, mid = noise(rank, inner, *ones), noise(out, rank, *ones), noise(rank, rank, *kernel)
    delta = torch.einsum("ijkl,oi,jn->onkl", mid.double(), up.double().flatten(1), down.double().flatten(1))
    return Made({"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid}, rank, delta)


def loha(shape: Shape, noise: Random, rank: int = 2) -> Made:
    out, inner, *kernel = shape
    width = inner * int(torch.tensor(kernel).prod()) if kernel else inner
    sides = [(noise(out, rank), noise(rank, width)) for _ in range(2)]
    tensors = {f"hada_w{number}_{half}": tensor for number, pair in enumerate(sides, 1)
               for half, tensor in zip("ab", pair, strict=True)}  # fmt: skip
    one, two = (left.double() @ right.double() for left, right in sides)
    return Made(tensors, rank, (one * two).reshape(*shape))


def loha_tucker(shape: Shape, noise: Random, rank: int = 2) -> Made:
    out, inner, *kernel = shape
    tensors, sides = {}, []
    for number in (1, 2):
        core, left, right = noise(rank, rank, *kernel), noise(rank, out), noise(rank, inner)
        tensors |= {f"hada_t{number}": core, f"hada_w{number}_a": left, f"hada_w{number}_b": right}
        sides.append(torch.einsum("ijkl,jn,io->onkl", core.double(), right.double(), left.double()))
    return Made(tensors, rank, sides[0] * sides[1])


def lokr(one: str, two: str, factor: int = 2, rank: int = 2) -> Callable[[Shape, Random], Made]:
    """LoKr with each half `whole`, `factored` or (the second one) with a `core`."""

    def made(shape: Shape, noise: Random) -> Made:
        out, inner, *kernel = shape
        first = (factor, factor)
        second = (out // factor, inner // factor, *kernel)
        tensors: dict[str, Tensor] = {}
        if one == "whole":
            tensors["lokr_w1"] = noise(*first)
            left = tensors["lokr_w1"].double()
        else:
            tensors |= {"lokr_w1_a": noise(first[0], rank), "lokr_w1_b": noise(rank, first[1])}
            left = tensors["lokr_w1_a"].double() @ tensors["lokr_w1_b"].double()
        if two == "whole":
            tensors["lokr_w2"] = noise(*second)
            right = tensors["lokr_w2"].double()
        elif two == "factored":
            tensors |= {"lokr_w2_a": noise(second[0], rank), "lokr_w2_b": noise(rank, *second[1:])}
            right = torch.einsum("or,r...->o...", tensors["lokr_w2_a"].double(), tensors["lokr_w2_b"].double())
        else:
            tensors |= {"lokr_w2_a": noise(rank, second[0]), "lokr_w2_b": noise(rank, second[1]),
                        "lokr_t2": noise(rank, rank, *kernel)}  # fmt: skip
            right = torch.einsum("ijkl,io,jn->onkl", tensors["lokr_t2"].double(), tensors["lokr_w2_a"].double(),
                                 tensors["lokr_w2_b"].double())  # fmt: skip
        delta = torch.einsum("ab,cd...->acbd...", left, right).reshape(*shape)
        return Made(tensors, None if one == two == "whole" else rank, delta)

    return made


def full(shape: Shape, noise: Random) -> Made:
    delta = noise(*shape)
    return Made({"diff": delta}, None, delta.double())


DIALECTS: Mapping[str, Callable[[Shape, Random], Made]] = {
    "LoRA": lora,
    "LoHa": loha,
    "LoKr, whole and whole": lokr("whole", "whole"),
    "LoKr, whole and factored": lokr("whole", "factored"),
    "LoKr, factored and factored": lokr("factored", "factored"),
    "LoKr, factored and whole": lokr("factored", "whole", factor=4, rank=1),
    "full": full,
}
"""For every kind of layer."""
CONVOLUTIONS: Mapping[str, Callable[[Shape, Random], Made]] = {
    "Tucker": tucker,
    "LoHa with cores": loha_tucker,
    "LoKr with a core": lokr("whole", "core"),
    "LoKr with a core, factored": lokr("factored", "core"),
}
"""For layers with a kernel alone."""
