"""What becomes of every tensor of a component when a LoRA is fused in: which delta it gets, which format."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.deltas.transposed import Transposed
from loramerge.errors import SourceError
from loramerge.messages import by, some
from loramerge.tensor_files.header import ITEM_SIZES, Stored
from loramerge.tensor_files.safetensors import opened

if TYPE_CHECKING:
    from loramerge.adapter import LowRank, Modules
    from loramerge.bases.base import Component

# What the layers of attention were called before diffusers 0.12; `from_pretrained` reads that still.
_OLD_ATTENTION = re.compile(r"\.(query|key|value|proj_attn)(?=\.(?:weight|bias)$)")
_NEW_ATTENTION = {"query": ".to_q", "key": ".to_k", "value": ".to_v", "proj_attn": ".to_out.0"}
_HINT = "fetch the base again, or choose another revision"


@dataclass(frozen=True)
class RowDelta:
    """What is added to consecutive rows of a tensor: rows of a delta.

    Attributes:
        pair: Has the delta.
        start: First of the tensor's rows.
        stop: The row behind the last.
        row: Of the delta, the row that is added to the first.
    """

    pair: LowRank
    start: int
    stop: int
    row: int = 0

    @classmethod
    def whole(cls, pair: LowRank) -> RowDelta:
        """The pair for all rows of a tensor of its shape, or of that of an equal map."""
        return cls(pair, 0, pair.shape[0])

    def below(self, rows: int) -> RowDelta:
        """The same for rows that lie so many further down."""
        return replace(self, start=self.start + rows, stop=self.stop + rows)

    @classmethod
    def transposed(cls, pair: LowRank) -> RowDelta:
        """The pair of a linear layer for a tensor that keeps its weight as in×out."""
        return cls.whole(Transposed(pair))


@dataclass(frozen=True)
class TensorChange:
    """A tensor on its way from one file to another.

    Attributes:
        stored: Where it is.
        dtype: Number format in which it is written, as a header spells it.
        shares: What is added to it; no two have a row in common.
        shown_as: What errors call it.
        is_stack: It has a matrix of each expert's, one behind the other, whose rows are counted through.
    """

    stored: Stored
    dtype: str
    shares: tuple[RowDelta, ...]
    shown_as: str
    is_stack: bool = False

    @property
    def size(self) -> int:
        """Bytes that it takes when it is written."""
        return self.stored.size if self.is_plain else self.stored.count * ITEM_SIZES[self.dtype]

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.stored.shape[-1] if self.is_stack else math.prod(self.stored.shape[1:])

    @property
    def is_plain(self) -> bool:
        """Whether its bytes stay what they are."""
        return not self.shares and self.dtype == self.stored.dtype


def stored_in(weights: Sequence[Path], shown: str) -> tuple[Stored, ...]:
    """All tensors of a component's weight files, in the order in which they lie there.

    Args:
        weights: The files.
        shown: What errors call their folder.

    Raises:
        SourceError: One of them is no sound safetensors file, or two have the same tensor.
    """
    found: dict[str, Stored] = {}
    for path in weights:
        for tensor in sorted(
            opened(path, f"{shown}/{path.name}").stored.values(), key=lambda each: (each.offset, each.size)
        ):
            if tensor.key in found:
                raise SourceError(f"{shown}: {found[tensor.key].path.name} and {path.name} both have {tensor.key}")
            found[tensor.key] = tensor
    return tuple(found.values())


def keys_of(stored: Iterable[Stored]) -> list[str]:
    """Names of tensors."""
    return [tensor.key for tensor in stored]


def changes(stored: Sequence[Stored], dtype: str | None, shown: str, stay: Container[str] = ()) -> list[TensorChange]:
    """Tensors on their way to another number format; integers stay what they are.

    Args:
        stored: Where they are.
        dtype: Format of all floating-point numbers, as a header spells it; None leaves each its own.
        shown: What errors call the component.
        stay: Names of tensors that are made wider at most.

    Returns:
        Those with larger elements first, else in the order of the files: readers need tensors to be aligned.

    Raises:
        SourceError: A tensor has a format that can't be converted.
    """
    found = []
    for tensor in stored:
        is_number = tensor.dtype in ITEM_SIZES
        if dtype and tensor.dtype.startswith("F") and not is_number:
            raise SourceError(
                f"{shown}: {tensor.key} is stored as {tensor.dtype}, which can't be converted",
                hint="leave the output's dtype out, or choose a base in float32, float16 or bfloat16",
            )
        kept = tensor.dtype if not (dtype and is_number) or _is_kept(tensor, dtype, stay) else dtype
        found.append(TensorChange(tensor, kept, (), f"{shown}.{tensor.key}"))
    return aligned(found)


def _is_kept(tensor: Stored, dtype: str, stay: Container[str]) -> bool:
    return tensor.key in stay and ITEM_SIZES[dtype] <= ITEM_SIZES[tensor.dtype]


def aligned(found: Iterable[TensorChange]) -> list[TensorChange]:
    """Those with larger elements first, else in their order: readers need tensors to be aligned."""
    return sorted(found, key=lambda change: -(change.size // change.stored.count if change.stored.count else 1))


def with_lora(
    found: Sequence[TensorChange], component: Component, modules: Modules, scale: float, shown: str
) -> list[TensorChange]:
    """The same changes, with the LoRA's pairs where they belong.

    Args:
        found: Every tensor of the component.
        component: What its files have to hold.
        modules: The LoRA's pairs by canonical name.
        scale: Multiplied into every pair's own.
        shown: What errors call the component.

    Raises:
        SourceError: The files lack a tensor, or have it in another shape or in a format that can't be added to.
    """
    if not modules and Counter(change.stored.shape for change in found) == Counter(component.parameters.values()):
        return list(
            found
        )  # complete, whatever its names: transformers gives other ones to some models when it loads them
    by_name = {canonical_name(component, change.stored.key): change for change in found}
    _check_complete({name: change.stored for name, change in by_name.items()}, component, shown)
    for module, pair in modules.items():
        name = component.parameter(module)
        by_name[name] = with_shares(
            by_name[name], [RowDelta.whole(pair.times(scale))], shown, f"{component.name}.{module}"
        )
    return list(by_name.values())


def with_shares(change: TensorChange, shares: Iterable[RowDelta], shown: str, shown_as: str) -> TensorChange:
    """The same change, with more that is added.

    Args:
        change: What becomes of the tensor so far.
        shares: Of rows to which nothing is added yet.
        shown: What errors call the file or folder.
        shown_as: What they call the tensor from now on.

    Raises:
        SourceError: Nothing can be added to numbers of the tensor's format.
    """
    if change.stored.dtype not in ITEM_SIZES:
        raise SourceError(
            f"{shown}: {change.stored.key} is stored as {change.stored.dtype}, which nothing can be added to",
            hint="choose a base in float32, float16 or bfloat16",
        )
    return replace(change, shares=(*change.shares, *shares), shown_as=shown_as)


def canonical_name(component: Component, key: str) -> str:
    """The canonical name of a tensor.

    Args:
        component: Has it.
        key: What a file calls it.
    """
    name = component.canonical(key)
    if name in component.parameters:
        return name
    renamed = _OLD_ATTENTION.sub(lambda match: _NEW_ATTENTION[match[1]], name)
    return renamed if renamed in component.parameters else name


def _check_complete(stored: Mapping[str, Stored], component: Component, shown: str) -> None:
    """Libraries fill with random numbers what a file lacks, and only warn."""
    missing = sorted(component.parameters.keys() - stored.keys())
    if missing:
        raise SourceError(f"{shown} lacks {some(missing)}", hint=_HINT)
    for name, shape in component.parameters.items():
        tensor = stored[name]
        if tensor.shape != shape:
            raise SourceError(
                f"{shown}: {tensor.key} is {by(tensor.shape)}, {component.name}/config.json says {by(shape)}",
                hint=_HINT,
            )
