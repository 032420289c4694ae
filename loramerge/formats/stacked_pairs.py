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

    from loramerge.adapter import Adapter, LowRank, Modules
    from loramerge.bases.base import Base
    from loramerge.bases.component import Component
    from loramerge.bases.experts import Stack


_TAKEN = frozenset({"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"})
"""What PEFT takes for layers of experts."""


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


def shares_of(component: Component, modules: Modules) -> Iterator[tuple[str, LowRank]]:
    """The same pairs, those of an expert's layers that are one parameter put together, by the share's name."""
    for name, pair in modules.items():
        if name not in component.of_experts:
            yield name, pair
    of_experts = {name: pair for name, pair in modules.items() if name in component.of_experts}
    yield from in_original_names(component.share_layout, of_experts)


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
        raise dora_on_parameter(rescaled)
    found: dict[str, dict[int, LowRank]] = {}
    for name, pair in in_original_names(component.share_layout, of_experts):
        parameter, _, expert = name.rpartition(".")
        found.setdefault(parameter, {})[int(expert)] = pair
    return {name: StackedPair(name, component.stacks[name], found[name]) for name in component.stacks if name in found}


def notes_of(adapter: Adapter, base: Base) -> Iterator[str]:
    """What is to be said where pairs of experts are put together: how many zeros there are, and where ranks grow."""
    for component, modules in adapter.components.items():
        pairs = stacked_pairs(base.components[component], modules)
        if filled := sum(pair.filled for pair in pairs.values()):
            size = sum(pair.size for pair in pairs.values())
            yield (
                f"{filled:,} of the {size:,} numbers for experts are zeros: in PEFT's format all experts of a "
                "parameter have one rank, and some have a smaller one or no pair"
            )
        layers = {name: pair for name, pair in pairs.items() if len(pair.stack.canonical) > 1}
        grown = [name for name, pair in layers.items() if pair.rank > _rank_before(pair, modules)]
        if grown:
            yield (
                f"{some(grown)}: layers that were merged apart are one parameter in PEFT's format, with the sum of "
                "their ranks"
            )


def _rank_before(pair: StackedPair, modules: Modules) -> int:
    named = (numbered(name, expert) for name in pair.stack.canonical for expert in pair.pairs)
    return max(modules[name].rank for name in named if name in modules)


def dora_on_parameter(module: str) -> MismatchError:
    """What is said where a DoRA can't be written."""
    return MismatchError(
        f"PEFT takes {module} for a parameter, and has no DoRA beside or on parameters",
        hint="write `kind: model`, or use LoRAs that are no DoRAs",
    )


def weights_for_peft(component: Component, live: Mapping[str, str]) -> Iterator[str]:
    """The layers that PEFT is told by the name of their weight, as a parameter: routers, and layers called as experts'.

    Where experts lie in a parameter PEFT takes whatever is called as their layers were for a name of theirs, also dense
    and shared layers, and loses those (peft/utils/transformers_weight_conversion.py).

    Args:
        component: Of the base.
        live: Canonical name → name in memory, of layers.
    """
    for module, name in live.items():
        is_taken = bool(component.stacks) and name.rpartition(".")[2] in _TAKEN
        if module not in component.stacks and (is_taken or module in component.routers):
            yield module


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
