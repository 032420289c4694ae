"""Where the weights of a model lie, folder or file: those of layers, and what no LoRA has a pair for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases.quantised import refuse_quantised
from loramerge.errors import SourceError
from loramerge.messages import by
from loramerge.tensor_files.fuse_plan import canonical_name, stored_in
from loramerge.tensor_files.header import torch_dtype
from loramerge.tensor_files.lazy import READABLE, StoredRows, StoredTensor

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.bases.checkpoint import CheckpointPart
    from loramerge.bases.component import Component
    from loramerge.bases.experts import Expert, Stack
    from loramerge.families.layout import Shapes
    from loramerge.tensor_files.header import Stored

_WEIGHT = ".weight"
_HINT = "fetch it again, or choose another revision"


@dataclass(frozen=True)
class Placed:
    """A parameter in a file.

    Attributes:
        shown: The file and the tensor, for messages.
        rows: Those of the tensor that are the parameter's.
        is_turned: They are the parameter's columns: the file keeps it as in×out.
    """

    shown: str
    rows: StoredTensor | StoredRows
    is_turned: bool = False

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return math.prod(self.rows.shape) * torch_dtype(self.rows.dtype).itemsize


@dataclass(frozen=True)
class Weights:
    """Where the weights of a model lie.

    Attributes:
        reference: The model.
        base: What it is.
        layers: Component → module → its weight. A module whose weight lies nowhere by a name that is known is absent.
        rest: All other tensors, by component and canonical name joined by a dot, or as the one file calls them.
    """

    reference: str
    base: Base
    layers: Mapping[str, Mapping[str, Placed]]
    rest: Mapping[str, Placed]

    def component_of(self, name: str) -> str:
        """Which component a tensor of `rest` is of; the first part of its name where it is of none."""
        if self.base.checkpoint is not None:
            parts = self.base.checkpoint.parts.items()
            fitting = [(len(part.prefix), component) for component, part in parts if name.startswith(part.prefix)]
            if fitting and (longest := max(fitting))[0]:
                return longest[1]
        return name.partition(".")[0]

    def rest_like(self, other: Weights) -> tuple[Mapping[str, Placed], Mapping[str, Placed]]:
        """The tensors of `rest` of both models by names that both have in common, as far as there are such."""
        mine, theirs = self.base.checkpoint, other.base.checkpoint
        if (mine is None) is (theirs is None):
            return self.rest, other.rest
        if mine is None:
            return other.rest_like(self)[::-1]
        return dict(_in_names_of(self, mine.parts, other.rest)), other.rest


def weights_of(base: Base, folder: Path, names: Sequence[str]) -> Weights:
    """Look a model's weights up in its files; of these nothing but the headers is read.

    Args:
        base: What the model is.
        folder: Where the files lie.
        names: The files, as `weight_files` or `pipeline_files` chose them.

    Raises:
        SourceError: A file is damaged, its numbers are packed, or it lacks a layer's weight or has it in another shape.
    """
    files: dict[str, list[str]] = {}
    for name in names:
        if name.endswith(".safetensors"):
            files.setdefault(name.rpartition("/")[0], []).append(name)
    layers: dict[str, dict[str, Placed]] = {}
    rest: dict[str, Placed] = {}
    for place, inside in files.items():
        shown = f"{base.reference}/{place}" if place else base.reference
        stored = stored_in([folder / name for name in inside], shown)
        refuse_quantised((tensor.key for tensor in stored), shown)
        if base.checkpoint is not None:
            return _of_file(base, base.checkpoint.parts, stored)
        component = place or base.main
        if component in base.components:
            layers[component], left = _of_component(base.components[component], stored, shown)
        else:
            left = {tensor.key: _placed(tensor, shown) for tensor in stored}
        rest |= {f"{component}.{name}": found for name, found in left.items()}
    return Weights(base.reference, base, layers, rest)


def _of_component(
    component: Component, stored: Sequence[Stored], shown: str
) -> tuple[dict[str, Placed], dict[str, Placed]]:
    """Weights of layers by module, and all else by canonical name."""
    live = {f"{name}{_WEIGHT}": f"{module}{_WEIGHT}" for module, name in component.live.items()}
    by_name: dict[str, Stored] = {}
    for tensor in stored:
        name = canonical_name(component, tensor.key)
        by_name[name if name in component.parameters else live.get(tensor.key, name)] = tensor
    layers = {}
    for module, expert in component.of_experts.items():
        name, stack = f"{module}{_WEIGHT}", component.stacks[expert.parameter]
        if name in by_name:
            layers[module] = _layer(by_name.pop(name), stack.layer_shape, shown)
        elif expert.parameter in by_name:
            layers[module] = _of_stack(by_name[expert.parameter], stack, expert, shown)
        else:
            raise SourceError(f"{shown} lacks {name}", hint=_HINT)
    for parameter in component.stacks:
        by_name.pop(parameter, None)
    for module, shape in component.modules.items():
        name = f"{module}{_WEIGHT}"
        if name not in component.parameters:  # it is the embedding's as well
            continue
        if name not in by_name:
            raise SourceError(f"{shown} lacks {name}", hint=_HINT)
        layers[module] = _layer(by_name.pop(name), shape, shown, is_turned=module in component.transposed)
    return layers, {name: _placed(tensor, shown) for name, tensor in by_name.items()}


def _of_file(base: Base, parts: Mapping[str, CheckpointPart], stored: Sequence[Stored]) -> Weights:
    by_key = {tensor.key: tensor for tensor in stored}
    layers: dict[str, dict[str, Placed]] = {}
    taken: set[str] = set()
    for component, part in parts.items():
        found = layers.setdefault(component, {})
        for module, place in part.places(base.components[component].modules).items():
            tensor = by_key.get(place.key)
            if tensor is None:
                continue
            placed = _layer(tensor, place.shape, base.reference)
            found[module] = Placed(placed.shown, _stored(tensor).rows(place.spans), place.is_turned)
            taken.add(place.key)
    rest = {key: _placed(tensor, base.reference) for key, tensor in by_key.items() if key not in taken}
    return Weights(base.reference, base, {name: found for name, found in layers.items() if found}, rest)


def _in_names_of(
    weights: Weights, parts: Mapping[str, CheckpointPart], others: Mapping[str, Placed]
) -> Iterator[tuple[str, Placed]]:
    """The tensors of a file beside its layers by the names that a folder has for them."""
    for component, part in parts.items():
        start = f"{component}."
        shapes: Shapes = {
            name.removeprefix(start): found.rows.shape for name, found in others.items() if name.startswith(start)
        }
        for name, (key, spans) in part.tensors(shapes).items():
            if found := weights.rest.get(key):
                assert isinstance(found.rows, StoredTensor)  # noqa: S101  of a file whole tensors are kept
                if found.rows.shape[1:] == shapes[name][1:] and found.rows.shape[0] >= max(stop for _, stop in spans):
                    yield f"{start}{name}", Placed(found.shown, found.rows.rows(spans))


def _layer(tensor: Stored, shape: tuple[int, ...], shown: str, *, is_turned: bool = False) -> Placed:
    wanted = shape[::-1] if is_turned else shape
    if tensor.shape != wanted:
        raise SourceError(f"{shown}: {tensor.key} is {by(tensor.shape)} and should be {by(wanted)}", hint=_HINT)
    if tensor.dtype not in READABLE:
        raise SourceError(
            f"{shown}: {tensor.key} holds {tensor.dtype}, expected floating-point numbers ({', '.join(READABLE)})",
            hint="choose a model in one of these number formats",
        )
    found = _placed(tensor, shown)
    return Placed(found.shown, found.rows, is_turned)


def _of_stack(tensor: Stored, stack: Stack, expert: Expert, shown: str) -> Placed:
    """The layer of an expert within the parameter that has all of them."""
    rows = stack.rows(expert, tensor.shape)
    whole = _layer(tensor, tensor.shape if rows else stack.shape, shown)
    assert rows is not None  # noqa: S101  else the shape was found to be wrong
    experts, height, width = tensor.shape
    found = _stored(tensor).reshaped((experts * height, width)).rows([(rows.first, rows.first + rows.count)])
    return Placed(f"{whole.shown}[{expert.number}]", found, rows.is_turned)


def _placed(tensor: Stored, shown: str) -> Placed:
    return Placed(f"{shown}: {tensor.key}", _stored(tensor))


def _stored(tensor: Stored) -> StoredTensor:
    return StoredTensor(tensor.place, tensor.offset, tensor.dtype, tensor.shape)
