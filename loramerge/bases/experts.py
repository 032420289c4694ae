"""Experts of a layer, whose weights transformers 5 has in one parameter with three axes.

Checkpoints and LoRAs may have them in a layer for each expert. Here each expert is a layer in any case, under the
checkpoint's names: what is known of layers holds for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loramerge.families.layout import Rule

NUMBER = "{}"
"""Stands for an expert's number in a name."""
_DIGITS = re.compile(r"(?<=\.)\d+(?=\.|$)")


@dataclass(frozen=True)
class Stack:
    """A parameter that has the weights of all experts of a layer.

    Attributes:
        shape: experts×out×in; experts×in×out where it is transposed.
        is_transposed: PEFT takes its second axis for what goes in.
        live: Names of the layers whose rows it has for each expert, one after the other, by the names in memory.
        canonical: The same by the names of checkpoints.
    """

    shape: tuple[int, int, int]
    is_transposed: bool
    live: tuple[str, ...]
    canonical: tuple[str, ...]

    @classmethod
    def kept(cls, entry: Mapping[str, Any]) -> Stack:
        """One of the shape cache's.

        Raises:
            LookupError, TypeError, ValueError: It is damaged.
        """
        experts, first, second = entry["shape"]
        shape = int(experts), int(first), int(second)
        return cls(shape, bool(entry["is_transposed"]), tuple(entry["live"]), tuple(entry["canonical"]))

    @property
    def whole_shape(self) -> tuple[int, int]:
        """Shape of an expert's share, out×in."""
        _, first, second = self.shape
        return (second, first) if self.is_transposed else (first, second)

    @property
    def layer_shape(self) -> tuple[int, int]:
        """Shape of the weight of each of the layers, out×in."""
        out, width = self.whole_shape
        return out // len(self.canonical), width

    def rows(self, expert: Expert, shape: tuple[int, ...]) -> Rows | None:
        """Where the weight of an expert's layer lies in a file; None where a tensor of this shape can't hold it.

        Some files have the two axes of each matrix the other way round, and transformers turns them where their sizes
        say so (core_model_loading.py, `Transpose` with `check_dims`).

        Args:
            expert: Which layer.
            shape: Of the file's tensor.
        """
        experts, first, second = self.shape
        if shape == self.shape:
            height = first if self.is_transposed else self.layer_shape[0]
            return Rows(expert.number * first + expert.place * height, height, self.is_transposed)
        if shape == (experts, second, first) and len(self.canonical) == 1:
            return Rows(expert.number * second, second, not self.is_transposed)
        return None

    def layers(self) -> Iterator[tuple[str, str, int, int]]:
        """(canonical name, name in memory, expert, which of its layers), in the order of the numbers."""
        for expert in range(self.shape[0]):
            for place, (canonical, live) in enumerate(zip(self.canonical, self.live, strict=True)):
                yield numbered(canonical, expert), numbered(live, expert), expert, place


@dataclass(frozen=True)
class Rows:
    """Rows of a tensor with a matrix of each expert, counted through all matrices.

    Attributes:
        first: The first.
        count: How many.
        is_turned: They are the transpose of the layer's weight.
    """

    first: int
    count: int
    is_turned: bool


@dataclass(frozen=True)
class Expert:
    """Where the weight of an expert's layer lies.

    Attributes:
        parameter: Its name in memory.
        number: The expert's.
        place: Which of the expert's layers, one below the other, it is.
    """

    parameter: str
    number: int
    place: int


def numbered(name: str, expert: int) -> str:
    """The name of one expert's."""
    return name.replace(NUMBER, str(expert))


def slice_of(parameter: str, expert: int | str = NUMBER) -> str:
    """What one expert's share of a parameter is called, as if it were a layer."""
    return f"{parameter}.{expert}"


def experts_of(stacks: Mapping[str, Stack]) -> dict[str, Expert]:
    """Where the weight of each expert's layer lies, by the layer's canonical name."""
    return {
        module: Expert(parameter, expert, place)
        for parameter, stack in stacks.items()
        for module, _, expert, place in stack.layers()
    }


def rules_of(stacks: Mapping[str, Stack]) -> tuple[Rule, ...]:
    """What layers a share of a parameter holds, where these have names of their own."""
    found = {
        Rule(_starred(slice_of(parameter)), tuple(map(_starred, stack.canonical)))
        for parameter, stack in stacks.items()
        if stack.canonical != (slice_of(parameter),)
    }
    return tuple(sorted(found, key=lambda rule: rule.original))


def _starred(name: str) -> str:
    return _DIGITS.sub("*", name.replace(NUMBER, "*"))
