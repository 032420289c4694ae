"""One part of a base that LoRAs can touch, without its weights."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from loramerge.bases.blocks import blocks_of
from loramerge.bases.experts import experts_of, rules_of
from loramerge.bases.skeleton import skeleton
from loramerge.families.layout import (
    NO_TABLES,
    WEIGHT,
    Layout,
    Original,
    ParameterLayout,
    Piece,
    Tables,
    comfyui_name,
    key_of,
)

if TYPE_CHECKING:
    from torch import nn

    from loramerge.bases.experts import Expert, Stack

CLIP_PREFIX = "text_model."
_WITHOUT_PREFIX = "text_projection"


@dataclass(frozen=True)
class Component:
    """One part of the base that LoRAs can touch.

    Attributes:
        name: `unet`, `transformer`, `text_encoder` and the like.
        config: Its config.json.
        modules: Shape of the weight (out×in, or out×in and the kernel's sizes) of every linear and convolution layer,
            by canonical name, in the order in which the architecture defines them.
        live: The name that each of them has in the built model. transformers 5 builds CLIPTextModel without the
            `text_model.` that checkpoints and LoRAs have in their keys.
        parameters: Shape of everything that a checkpoint has to hold, by canonical name.
        tables: From the names that files have to these.
        transposed: Of its linear layers, those that keep their weight as in×out, as all of GPT-2 do.
        stacks: Parameters that have the weights of experts, each of which is among `modules`.
        routers: Of its linear layers, those whose class is their own.
        tied: Parameter → the one whose numbers it has as well; the latter alone is among `parameters`.
        kept: Number format, or `float8` for any of them → parameters that must not have it; empty where not known.
        prefix: What canonical names begin with and names in memory may lack.
    """

    name: str
    config: Mapping[str, Any]
    modules: Mapping[str, tuple[int, ...]]
    live: Mapping[str, str]
    parameters: Mapping[str, tuple[int, ...]]
    tables: Tables = NO_TABLES
    prefix: str = ""
    transposed: frozenset[str] = frozenset()
    stacks: Mapping[str, Stack] = field(default_factory=dict)
    routers: frozenset[str] = frozenset()
    tied: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Its blocks in their order, as `block_of` names them."""
        return blocks_of(self.name, self.modules)

    @cached_property
    def layout(self) -> Layout:
        """Its layers in the names of the original checkpoint."""
        return Layout(self.tables.original, self.modules)

    @cached_property
    def comfyui_layout(self) -> Layout:
        """Its layers in ComfyUI's names."""
        comfyui = self.tables.comfyui
        return self.layout if comfyui is None else Layout(comfyui, self.modules)

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        """Its layers in each set of names that files have; of one name the later says what it holds."""
        further = [Layout(self.tables.further, self.modules)] if self.tables.further else []
        return (*further, *([self.share_layout] if self.stacks else []), self.comfyui_layout, self.layout)

    @cached_property
    def share_layout(self) -> Layout:
        """Its layers, with an expert's share of a parameter in place of the layers in it."""
        return Layout(rules_of(self.stacks), self.modules)

    @cached_property
    def of_experts(self) -> Mapping[str, Expert]:
        """Where the weight of an expert's layer lies, by the layer's canonical name."""
        return experts_of(self.stacks)

    @cached_property
    def others(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every parameter that is no layer's weight, by its key: norms, biases, tables, embeddings."""
        keys = {key_of(name): shape for name, shape in self.parameters.items()}
        return {key: shape for key, shape in keys.items() if key not in self.modules}

    def parameter(self, key: str) -> str:
        """The whole name of the parameter that an adapter calls `key`."""
        return key if key in self.parameters else f"{key}{WEIGHT}"

    @cached_property
    def _whole_layouts(self) -> tuple[ParameterLayout, ...]:
        """As `layouts`, of all parameters."""
        tables = self.tables
        every = (tables.further, tables.original if tables.comfyui is None else tables.comfyui, tables.original)
        return tuple(ParameterLayout(given, self.parameters) for given in every)

    @property
    def whole_layout(self) -> ParameterLayout:
        """All its parameters in the names of the original checkpoint."""
        return self._whole_layouts[-1]

    def layout_for(self, keys: Collection[str]) -> Layout:
        """Names of the original checkpoint for what an adapter has: for layers alone, or for all parameters."""
        return self.layout if self.modules.keys() >= {*keys} else self.whole_layout

    def comfyui_layout_for(self, keys: Collection[str]) -> Layout:
        """The same in ComfyUI's names."""
        return self.comfyui_layout if self.modules.keys() >= {*keys} else self._whole_layouts[-2]

    @cached_property
    def spelled(self) -> Mapping[str, Original]:
        """What holds which layers, by every name that files have for it, with `_` for `.`.

        Flat names can't be told apart into their parts, so they are looked up: no two layers of a model share one.
        """
        found = {flat(original.name): original for layout in self.layouts for original in layout.originals.values()}
        for module, shape in self.modules.items():
            whole = Original(module, shape, (Piece(module, ((0, shape[0]),)),))
            names = {module, self.live[module], module.removeprefix(self.prefix)}
            found |= dict.fromkeys(map(flat, names), whole)
        return found

    @cached_property
    def spelled_with_adapter(self) -> Mapping[str, Original]:
        """The same for files that keep PEFT's name of the adapter."""
        if not self.tables.named:
            return self.spelled
        originals = Layout(self.tables.named, self.modules).originals
        return {**self.spelled, **{flat(name): original for name, original in originals.items()}}

    @cached_property
    def spelled_others(self) -> Mapping[str, Original]:
        """What holds which of the parameters that are no layer's weight, by every name that files have for it."""
        found = {
            flat(name): original
            for layout in self._whole_layouts
            for original in layout.originals.values()
            if any(part.canonical in self.others for part in original.parts)
            for name in (original.name, key_of(comfyui_name(original.name)))
        }
        for key, shape in self.others.items():
            whole = Original(key, shape, (Piece(key, ((0, shape[0] if shape else 1),)),))
            found |= dict.fromkeys(map(flat, {key, key.removeprefix(self.prefix)}), whole)
        return found

    def find(self, names: Iterable[str], *, others: bool, with_adapter: bool = False) -> Original | None:
        """What holds the layer, or the other parameter, of one of these names.

        Args:
            names: Flat.
            others: Look among the parameters that are no layer's weight, where there is no such layer.
            with_adapter: The names are those of a file that keeps PEFT's name of the adapter.
        """
        wanted = [*names]
        layers = self.spelled_with_adapter if with_adapter else self.spelled
        found = next((layers[name] for name in wanted if name in layers), None)
        if found is None and others:
            found = next((self.spelled_others[name] for name in wanted if name in self.spelled_others), None)
        return found

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name of a layer, with its dots: canonical, in memory, and those that files have."""
        originals = (name for layout in self.layouts for name in layout.originals)
        return frozenset((*self.modules, *self.live.values(), *originals))

    @cached_property
    def forms(self) -> frozenset[str]:
        """The names of `spelled` with `#` for every number: those that a larger model of the kind has as well."""
        return frozenset(map(form, self.spelled))

    @cached_property
    def forms_of_others(self) -> frozenset[str]:
        """The same of `spelled_others`."""
        return frozenset(map(form, self.spelled_others))

    def shape_of(self, name: str, *, others: bool = False) -> tuple[int, ...] | None:
        """Shape of a layer's weight by its canonical name or one that files have; None where there is no such layer.

        Args:
            name: Dotted.
            others: Look among the parameters that are no layer's weight as well.
        """
        if name in self.modules:
            return self.modules[name]
        if others and name in self.others:
            return self.others[name]
        layouts = (*self.layouts[::-1], *(self._whole_layouts[::-1] if others else ()))
        return next((each.originals[name].shape for each in layouts if name in each.originals), None)

    def parameter_shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a parameter by its canonical name; None where there is none.

        Of a weight that is another's as well, such as an output layer's, the layer tells it.
        """
        module, _, parameter = name.rpartition(".")
        return self.parameters.get(name) or (self.modules.get(module) if parameter == "weight" else None)

    def canonical(self, name: str) -> str:
        """Name in the base's own checkpoint of what has this name in memory or in a file."""
        return canonical(name, self.prefix)

    def skeleton(self, chosen: Container[str] | None = None) -> nn.Module:
        """Its layers on the meta device: names and shapes, no memory.

        Args:
            chosen: Canonical names of those that are wanted; default: all. Their order is that of the whole.
        """
        wanted = self.modules if chosen is None else chosen
        return skeleton({live: self.modules[module] for module, live in self.live.items() if module in wanted})


def flat(name: str) -> str:
    """A name as kohya's trainers write it."""
    return name.replace(".", "_")


def form(name: str) -> str:
    """A flat name without its numbers."""
    return re.sub(r"\d+", "#", name)


def canonical(name: str, prefix: str) -> str:
    """A name that begins as those of checkpoints do."""
    return name if name.startswith((prefix, _WITHOUT_PREFIX)) else f"{prefix}{name}"
