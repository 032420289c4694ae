"""The canonical form of a LoRA: what every format is read into and written from.

Names of modules are those of the base's own checkpoint: `down_blocks.0.attentions.0…` in the UNet and
`text_model.encoder.layers.0…` in CLIP text encoders, whatever the installed transformers calls them in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.deltas.kind import Numbers
    from loramerge.tensor_files.saved import SavedTensor


@dataclass(frozen=True)
class LowRank:
    """A low-rank pair; its delta is `scale · up @ down` (Hu et al., LoRA, arXiv:2106.09685).

    Attributes:
        down: PEFT's `lora_A`, kohya's `lora_down`: r×in, or r×in×kh×kw for a convolution.
        up: PEFT's `lora_B`, kohya's `lora_up`: out×r, or out×r×1×1 for a convolution.
        scale: alpha / r, alpha / √r with rsLoRA. PEFT's factor-wise types depend on where it is applied.
        is_dense: Its factors are no smaller than the delta itself, and one of them is the identity.
        is_rescaled: It is rows of the base's weight, each times a factor, and a low-rank pair: a DoRA holds it.
        needs_weight: What it adds depends on the base's weight, and is known when it is bound to that.
        is_layer: It is added to the weight of a linear or convolution layer; else to a norm, a bias or the like, and
            has no rank.
        kind: What it was in its file, in words.
    """

    is_dense: ClassVar[bool] = False
    needs_weight: ClassVar[bool] = False
    is_layer: ClassVar[bool] = True
    kind: ClassVar[str] = "LoRA"

    down: Tensor
    up: Tensor
    scale: float

    @property
    def rank(self) -> int:
        """Number of rows of `down`."""
        return int(self.down.shape[0])

    @property
    def trained_rank(self) -> int:
        """The rank that its trainer was told, by which alpha is divided."""
        return self.rank

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight that the delta is added to: out×in, or out×in×kh×kw."""
        return (int(self.up.shape[0]), *map(int, self.down.shape[1:]))

    def matrices(self) -> tuple[Tensor, Tensor]:
        """(up, down) in float64 as matrices, out×r and r×(in·kh·kw), with the scale applied to `up`."""
        return self.up.flatten(1).double() * self.scale, self.down.flatten(1).double()

    def delta(self) -> Tensor:
        """The dense delta in float64, of `shape`. For tests and fusing: merging itself needs no dense delta."""
        up, down = self.matrices()
        return (up @ down).reshape(self.shape)

    def matrix(self) -> Tensor:
        """The dense delta without its scale, out×(in·kh·kw), float32."""
        return self.up.flatten(1) @ self.down.flatten(1)

    def rows_of_delta(self, start: int, stop: int, out: Tensor) -> None:
        """Some rows of the dense delta.

        Args:
            start: The first of them.
            stop: The row behind the last.
            out: Gets them, (stop - start)×(in·kh·kw), in its own number format, in which they are computed.
        """
        rows = self.up[start:stop].flatten(1).to(out.dtype) * self.scale
        out.addmm_(rows, self.down.flatten(1).to(out.dtype), beta=0)

    def times(self, factor: float) -> LowRank:
        """The pair of a delta that is this one's times a factor."""
        return LowRank(self.down, self.up, self.scale * factor)

    def rows(self, spans: Sequence[tuple[int, int]]) -> LowRank:
        """The pair of some rows of the delta, in the order given.

        Args:
            spans: First row and the one behind the last, of each run of rows.
        """
        chosen = [row for start, stop in spans for row in range(start, stop)]
        return LowRank(self.down, self.up[chosen], self.scale)

    def shaped(self, shape: tuple[int, ...]) -> LowRank:
        """The same map for a weight of an equivalent shape: a linear layer and a 1×1 convolution are one map."""
        down, up = self.factor_shapes(shape)
        return LowRank(self.down.reshape(down), self.up.reshape(up), self.scale)

    def factor_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of (down, up) for a weight of this shape."""
        return (self.rank, *shape[1:]), (shape[0], self.rank, *(1 for _ in shape[2:]))

    @property
    def size(self) -> int:
        """How many numbers it takes."""
        return self.rank * (self.shape[0] + math.prod(self.shape[1:]))

    @property
    def is_rescaled(self) -> bool:
        """See above."""
        return False

    def bound(self, weight: Numbers) -> LowRank:
        """What it adds to a weight of the base's: a pair adds the same to all.

        Args:
            weight: Of `shape`.
        """
        del weight
        return self

    @property
    def number_formats(self) -> frozenset[str]:
        """Those of both factors where they come from, such as `float16`."""
        return frozenset(str(factor.dtype).removeprefix("torch.") for factor in (self.down, self.up))

    @property
    def place_of_down(self) -> object:
        """What pairs have in common that have one `down` in one file; None for what is in no file."""
        return None

    def equals(self, other: LowRank) -> bool:
        """Whether both have the same scale and the same factors, to the bit."""
        here, there = ((each.scale, each.rank, each.shape, each.is_dense) for each in (self, other))
        return here == there and self.down.equal(other.down) and self.up.equal(other.up)

    def loaded(self) -> LowRank:
        """The same in memory, where it is already."""
        return self


def balanced(scale: float) -> tuple[float, float]:
    """What two factors are multiplied by to take on a scale: its root, and its root with its sign.

    Both take their share, so that neither becomes too small for float16.
    """
    root = math.sqrt(abs(scale))
    return root, math.copysign(root, scale)


def exact_shares(scale: float) -> tuple[float, float]:
    """What two factors are multiplied by to take on a scale, when as few bits as can be shall be lost.

    The first is a power of two, and so is the second where the scale is one: neither then changes more than exponents.
    """
    first = 2.0 ** ((math.frexp(scale)[1] - 1) // 2)
    return first, scale / first


Modules = Mapping[str, LowRank]
BASE, TASK = "base_model_name_or_path", "task_type"
"""What of PEFT's settings an adapter keeps."""
TASKS_WITH_HEADS = frozenset({"SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"})
"""Tasks for which PEFT wraps the model's head, and fails where the adapter's file lacks that."""


@dataclass(frozen=True)
class Adapter:
    """One LoRA.

    Attributes:
        components: For each component of the base (`unet`, `text_encoder`, `text_encoder_2`) its modules by name,
            sorted. Other parameters go by their names, those of weights without `.weight`. A component without any is
            absent.
        metadata: What the file said of itself (safetensors metadata), unchanged.
        saved: Parameters that were trained in full, by component and name. They take the place of the base's own, and
            no weight scales them.
        settings: What PEFT's settings say of `BASE` and `TASK`.
        embeddings: Textual inversions that came with it, by token and what they are of it: `fox.clip_l`. No weight
            scales them.
        notes: What is to be said of how it was read.
    """

    components: Mapping[str, Modules]
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    saved: Mapping[str, Mapping[str, SavedTensor]] = field(default_factory=lambda: MappingProxyType({}))
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()
    embeddings: Mapping[str, SavedTensor] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        ordered = {
            component: MappingProxyType(dict(sorted(modules.items())))
            for component, modules in sorted(self.components.items())
            if modules
        }
        object.__setattr__(self, "components", MappingProxyType(ordered))

    def __iter__(self) -> Iterator[tuple[str, str, LowRank]]:
        """(component, module, pair), sorted by component and module."""
        for component, modules in self.components.items():
            for module, pair in modules.items():
                yield component, module, pair

    def __len__(self) -> int:
        return sum(map(len, self.components.values()))

    def equals(self, other: Adapter) -> bool:
        """Whether both are the same tensors in the same places; they are read until two of them differ."""
        return _equal([*self], [*other]) and self.equals_beside_pairs(other)

    def equals_beside_pairs(self, other: Adapter) -> bool:
        """Whether both have the same of what was trained in full, and the same textual inversions."""
        return (
            _equal([*self.each_saved()], [*other.each_saved()])
            and self.embeddings.keys() == other.embeddings.keys()
            and all(tensor.equals(other.embeddings[name]) for name, tensor in self.embeddings.items())
        )

    def each_saved(self) -> Iterator[tuple[str, str, SavedTensor]]:
        """(component, name, tensor) of what was trained in full, sorted by component and name."""
        for component, tensors in sorted(self.saved.items()):
            for name, tensor in sorted(tensors.items()):
                yield component, name, tensor

    def loaded(self) -> Adapter:
        """The same in memory; adapters are read from their files when they are needed."""
        return replace(
            self,
            components={
                component: {module: pair.loaded() for module, pair in modules.items()}
                for component, modules in self.components.items()
            },
            saved={
                component: {name: tensor.loaded() for name, tensor in tensors.items()}
                for component, tensors in self.saved.items()
            },
            embeddings={name: tensor.loaded() for name, tensor in self.embeddings.items()},
        )


def _equal(here: Sequence[tuple[str, str, Any]], there: Sequence[tuple[str, str, Any]]) -> bool:
    return [entry[:2] for entry in here] == [entry[:2] for entry in there] and all(
        one.equals(another) for (*_, one), (*_, another) in zip(here, there, strict=True)
    )
