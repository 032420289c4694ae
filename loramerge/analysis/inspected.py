"""What is known of a LoRA, as data: family, format, modules, ranks, scales, norms, number formats, metadata."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from loramerge.bases.blocks import COMPONENTS, block_of

if TYPE_CHECKING:
    from loramerge.bases.anatomy import Anatomy


@dataclass(frozen=True)
class InspectedFile:
    """One file of a LoRA.

    Attributes:
        name: Within its source.
        size: In bytes.
        sha256: Of its content.
        dtypes: Number format as safetensors spells it (`F16`) → number of tensors.
    """

    name: str
    size: int
    sha256: str
    dtypes: Mapping[str, int]


@dataclass(frozen=True)
class InspectedModule:
    """One module that a LoRA touches.

    Attributes:
        component: `unet`, `text_encoder` or `text_encoder_2`; `unknown` where it is part of no model that is known.
        name: In the base; as the file has it where no base knows it.
        kind: `LoRA`, `LoHa`, `LoKr` or the like.
        shape: Of the weight that the delta is added to.
        rank: That its trainer was told; of what is not factored, the largest that the shape can have; 0 of what is
            no layer's weight.
        scale: What `up @ down` is multiplied by; alpha / rank in most files.
        norm: Frobenius norm of the delta.
    """

    component: str
    name: str
    kind: str
    shape: tuple[int, ...]
    rank: int
    scale: float
    norm: float

    @property
    def alpha(self) -> float:
        """Scale times rank: kohya's alpha."""
        return self.scale * self.rank

    @property
    def block(self) -> str:
        """`unet.down_blocks.1`, `text_encoder.layers.0`."""
        return block_of(self.component, self.name)


@dataclass(frozen=True)
class Group:
    """Modules that belong together."""

    name: str
    modules: tuple[InspectedModule, ...]

    @property
    def norm(self) -> float:
        """Frobenius norm of all deltas together."""
        return math.hypot(*(module.norm for module in self.modules))

    def count(self, of: Callable[[InspectedModule], float]) -> dict[float, int]:
        """Value → number of layers that have it, sorted by value."""
        return dict(sorted(Counter(of(module) for module in self.modules if module.rank).items()))


@dataclass(frozen=True)
class Inspection:
    """One LoRA.

    Attributes:
        reference: As it was given.
        revision: The commit, where the source has commits.
        format: `peft`, `diffusers` or `kohya`.
        family: As recipes call it: `sdxl`, `flux/schnell`; None where it is told by nothing, or could be several.
        candidates: Titles of those that it could be, where it is not told.
        trained_on: The model that a PEFT adapter says it was trained on; empty where nothing says so.
        files: What was read.
        modules: All of them, sorted by component and name.
        saved: Parameter that was trained in full → bytes.
        metadata: What the file says of itself.
        misfit: Why it does not fit the family that it seems to be of; empty when it does.
        anatomy: The blocks of its base, and others that it has.
    """

    reference: str
    revision: str | None
    format: str
    family: str | None
    candidates: tuple[str, ...]
    trained_on: str
    files: tuple[InspectedFile, ...]
    modules: tuple[InspectedModule, ...]
    saved: Mapping[str, int]
    metadata: Mapping[str, str]
    misfit: str
    anatomy: Anatomy

    @property
    def whole(self) -> Group:
        """All modules."""
        return Group("all", self.modules)

    @property
    def components(self) -> tuple[Group, ...]:
        """Modules by component."""
        return tuple(self._groups(lambda module: module.component))

    @property
    def blocks(self) -> tuple[Group, ...]:
        """Modules by block, in the order in which a base has them."""
        return self._in_order(lambda module: module.block)

    @property
    def rows(self) -> tuple[Group, ...]:
        """The same for people: several blocks together where there are many of one name."""
        return self._in_order(lambda module: self.anatomy.row_of(module.block))

    @property
    def is_of_known_parts(self) -> bool:
        """Whether any module is of a component that bases have."""
        return any(module.component in COMPONENTS for module in self.modules)

    def largest(self, most: int) -> tuple[InspectedModule, ...]:
        """The modules with the largest deltas, largest first."""
        return tuple(sorted(self.modules, key=lambda module: -module.norm)[:most])

    def as_data(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "reference": self.reference,
            "revision": self.revision,
            "family": self.family,
            "candidates": list(self.candidates),
            "trained_on": self.trained_on or None,
            "format": self.format,
            "files": [asdict(file) for file in self.files],
            "norm": self.whole.norm,
            "ranks": _keys_as_text(self.whole.count(lambda module: module.rank)),
            "alphas": _keys_as_text(self.whole.count(lambda module: module.alpha)),
            "scales": _keys_as_text(self.whole.count(lambda module: module.scale)),
            "components": {group.name: _summed(group) for group in self.components},
            "blocks": {group.name: _summed(group) for group in self.blocks},
            "modules": [{**asdict(module), "alpha": module.alpha} for module in self.modules],
            "saved": dict(self.saved),
            "metadata": dict(self.metadata),
            "misfit": self.misfit or None,
        }

    def _in_order(self, key: Callable[[InspectedModule], str]) -> tuple[Group, ...]:
        return tuple(sorted(self._groups(key), key=lambda group: self.anatomy.place(group.name)))

    def _groups(self, key: Callable[[InspectedModule], str]) -> Iterator[Group]:
        found: dict[str, list[InspectedModule]] = {}
        for module in self.modules:
            found.setdefault(key(module), []).append(module)
        yield from (Group(name, tuple(modules)) for name, modules in found.items())


def _summed(group: Group) -> dict[str, Any]:
    ranks = _keys_as_text(group.count(lambda module: module.rank))
    return {"modules": len(group.modules), "ranks": ranks, "norm": group.norm}


def _keys_as_text(counts: Mapping[float, int]) -> dict[str, int]:
    return {f"{value:g}": count for value, count in counts.items()}
