"""What an extraction found: how near the LoRA is to the difference of two models, and what of that it does not hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.adapter import Adapter

_NOUNS = {"biases": ("bias", "biases"), "norms": ("norm", "norms"), "others": ("other tensor", "other tensors")}
_ENERGY_TOLD = 1e-4  # share of the squared norm below which what is left out is not worth a number


@dataclass(frozen=True)
class ExtractedModule:
    """A module of the LoRA.

    Attributes:
        rank: Of its pair.
        norm: ‖difference‖, Frobenius.
        residual: ‖difference - up·down‖, of the float32 factors.
    """

    rank: int
    norm: float
    residual: float

    @property
    def error(self) -> float:
        """The residual over the norm."""
        return self.residual / self.norm


@dataclass(frozen=True)
class LeftOut:
    """Tensors that differ and for which a LoRA has no pair.

    Attributes:
        component: Whose they are; the beginning of their names where no component is known.
        kind: `biases`, `norms` or `others`.
        tensors: How many differ.
        size: Bytes that they take in the tuned model.
        norm: ‖difference‖ of all together.
    """

    component: str
    kind: str
    tensors: int
    size: int
    norm: float

    def __str__(self) -> str:
        return f"{self.tensors} {_NOUNS[self.kind][self.tensors != 1]} of {self.component} ({self.size:,} bytes)"


@dataclass(frozen=True)
class Extraction:
    """What an extraction found.

    Attributes:
        tuned: The model that was trained, as it was given.
        base: What it was trained from, as it was given.
        modules: Component → module → how near its pair is.
        equal: Component → modules that are the same in both models.
        rounded: Component → modules whose difference is no more than the rounding to the number format of one.
        unwanted: Component → modules for which no rank was asked.
        left_out: What differs and is in no pair.
        notes: What was not compared, in words.
    """

    tuned: str
    base: str
    modules: Mapping[str, Mapping[str, ExtractedModule]]
    equal: Mapping[str, int]
    rounded: Mapping[str, int]
    unwanted: Mapping[str, int]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    @property
    def norm(self) -> float:
        """Of the difference in all modules of the LoRA."""
        return math.hypot(*(each.norm for each in self._each()))

    @property
    def error(self) -> float:
        """‖difference - up·down‖ / ‖difference‖ over all modules of the LoRA."""
        return math.hypot(*(each.residual for each in self._each())) / self.norm

    def error_of(self, component: str) -> float:
        """The same of one component."""
        found = self.modules[component].values()
        return math.hypot(*(each.residual for each in found)) / math.hypot(*(each.norm for each in found))

    def sentences(self) -> Iterator[str]:
        """What the reader of a LoRA that was made so should know."""
        yield (
            f"extracted from {self.tuned}, as the difference from {self.base}; it keeps {1 - self.error**2:.1%} of the "
            f"squared norm of the difference in its modules (relative error {self.error:.2g})"
        )
        for what, counts in (
            ("are equal in both models", self.equal),
            ("differ by no more than the rounding to another number format", self.rounded),
            ("belong to components for which no rank is given", self.unwanted),
        ):
            if counts:
                named = some((f"{number} of {component}" for component, number in counts.items()), most=8)
                yield f"modules that {what} are left out: {named}"
        if self.left_out:
            share = math.hypot(*(each.norm for each in self.left_out)) ** 2
            whole = share + self.norm**2
            told = f"{share / whole:.2%}" if share > _ENERGY_TOLD * whole else "less than 0.01%"
            yield (
                f"left out, for they are no matrices of layers: {some(map(str, self.left_out), most=12)}; they are "
                f"{told} of the squared norm of all that differs"
            )
        yield from self.notes

    def as_data(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "base": self.base,
            "error": self.error,
            "norm": self.norm,
            "components": {
                name: {"error": self.error_of(name), "modules": len(found)} for name, found in self.modules.items()
            },
            "modules": {
                component: {name: {**asdict(each), "error": each.error} for name, each in found.items()}
                for component, found in self.modules.items()
            },
            "equal": dict(self.equal),
            "rounded": dict(self.rounded),
            "unwanted": dict(self.unwanted),
            "left_out": [asdict(each) for each in self.left_out],
        }

    def _each(self) -> list[ExtractedModule]:
        return [each for found in self.modules.values() for each in found.values()]


@dataclass(frozen=True)
class Extracted:
    """A LoRA that was made of two models.

    Attributes:
        adapter: Its pairs, float32.
        facts: How near it is.
    """

    adapter: Adapter
    facts: Extraction
