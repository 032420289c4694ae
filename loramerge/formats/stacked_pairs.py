"""Pairs of a layer's experts, put together into one of a parameter with three axes, as PEFT takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from loramerge.bases.experts import numbered
from loramerge.errors import MismatchError
from loramerge.formats.original_names import in_original_names
from loramerge.messages import some
from loramerge.tensor_files.header import STORED_AS
from loramerge.tensor_files.planned import Planned, rounded

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import LowRank, Modules
    from loramerge.bases.component import Component
    from loramerge.bases.experts import Stack


@dataclass(frozen=True)
class StackedPair:
    """A pair of each expert's, as one of the parameter's.

    Attributes:
        parameter: Its name in memory.
        stack: What it holds.
        pairs: By expert; one that has none gets zeros.
    """

    parameter: str
    stack: Stack
    pairs: Mapping[int, LowRank]

    @property
    def rank(self) -> int:
        """The largest of the experts': PEFT has one for all."""
        return max(pair.rank for pair in self.pairs.values())

    @property
    def scale(self) -> float:
        """That of all, and 1 where they differ or are not positive."""
        scales = {pair.scale for pair in self.pairs.values()}
        return scales.pop() if len(scales) == 1 and min(scales) > 0 else 1.0

    @property
    def filled(self) -> int:
        """How many numbers are zeros, because experts have a smaller rank or no pair."""
        return sum(self.stack.whole_shape) * (self._rows - sum(pair.rank for pair in self.pairs.values()))

    @property
    def size(self) -> int:
        """How many numbers it takes."""
        return sum(self.stack.whole_shape) * self._rows

    @property
    def _rows(self) -> int:
        return self.stack.shape[0] * self.rank

    def planned(self, module: str, dtype: str) -> Iterator[Planned]:
        """Both tensors, as `ParamWrapper.get_delta_weight` of PEFT takes them (tuners/lora/layer.py).

        Args:
            module: Begins their keys.
            dtype: `float32`, `float16` or `bfloat16`.
        """
        (out, width), rows = self.stack.whole_shape, self._rows
        for half, shape, make in (("A", (rows, width), self._down), ("B", (out, rows), self._up)):
            yield Planned(f"{module}.lora_{half}.weight", STORED_AS[dtype], shape, partial(self._rounded, make, dtype))

    def _rounded(self, make: Callable[[], Tensor], dtype: str) -> Tensor:
        return rounded(make(), 1.0, dtype, self.parameter)

    def _down(self) -> Tensor:
        import torch

        whole = torch.zeros(self.stack.shape[0], self.rank, self.stack.whole_shape[1])
        for expert, pair in self.pairs.items():
            whole[expert, : pair.rank] = pair.down
        return whole.flatten(0, 1)

    def _up(self) -> Tensor:
        import torch

        whole = torch.zeros(self.stack.shape[0], self.stack.whole_shape[0], self.rank)
        for expert, pair in self.pairs.items():
            whole[expert, :, : pair.rank] = pair.up * (pair.scale / self.scale)
        return whole.permute(1, 2, 0).flatten(1)


def stacked_pairs(component: Component, modules: Modules) -> dict[str, StackedPair]:
    """Parameter → the pairs of its experts.

    Args:
        component: Of the base.
        modules: Pairs by canonical name, of experts and of others.

    Raises:
        MismatchError: One of an expert is a DoRA.
    """
    of_experts = {module: pair for module, pair in modules.items() if module in component.of_experts}
    rescaled = next((module for module, pair in of_experts.items() if pair.is_rescaled), None)
    if rescaled is not None:
        raise MismatchError(
            f"{rescaled} is an expert's and a DoRA, and PEFT has none for experts",
            hint="write `kind: model`, or use LoRAs that are no DoRAs",
        )
    found: dict[str, dict[int, LowRank]] = {}
    for name, pair in in_original_names(component.share_layout, of_experts):
        parameter, _, expert = name.rpartition(".")
        found.setdefault(parameter, {})[int(expert)] = pair
    return {name: StackedPair(name, component.stacks[name], found[name]) for name in component.stacks if name in found}


def notes_of(pairs: Mapping[str, StackedPair], modules: Modules) -> Iterator[str]:
    """What is to be said of pairs that were put together.

    Args:
        pairs: By parameter.
        modules: What they were made of.
    """
    filled, size = (sum(each) for each in zip(*((pair.filled, pair.size) for pair in pairs.values()), strict=True))
    if filled:
        yield (
            f"{filled:,} of the {size:,} numbers for experts are zeros: in PEFT's format all experts of a parameter "
            "have one rank, and some have a smaller one or no pair"
        )
    grown = [
        name
        for name, pair in pairs.items()
        if len(pair.stack.canonical) > 1 and pair.rank > _rank_before(pair, modules)
    ]
    if grown:
        yield (
            f"{some(grown)}: layers that were merged apart are one parameter in PEFT's format, with the sum of "
            "their ranks"
        )


def _rank_before(pair: StackedPair, modules: Modules) -> int:
    named = (numbered(name, expert) for name in pair.stack.canonical for expert in pair.pairs)
    return max(modules[name].rank for name in named if name in modules)


def keys_of(pairs: Mapping[str, StackedPair]) -> dict[str, str]:
    """Parameter → how PEFT's keys of its pair begin: each wrapper lies within the one of the parameter that follows."""
    modules: dict[str, list[str]] = {}
    for parameter in pairs:
        modules.setdefault(parameter.rpartition(".")[0], []).append(parameter)
    return {
        parameter: f"{module}{'.base_layer' * depth}"
        for module, parameters in modules.items()
        for depth, parameter in enumerate(reversed(parameters))
    }
