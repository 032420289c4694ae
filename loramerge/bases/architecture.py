"""A model's layers and parameters from its config, by the library that has its class; no weight is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from loramerge.bases.checkpoint_names import checkpoint_names
from loramerge.bases.component import CLIP_PREFIX, Component, canonical
from loramerge.bases.expert_names import routers_of, stacks_of
from loramerge.bases.experts import Stack
from loramerge.bases.kept_wide import kept_in
from loramerge.bases.quiet import quiet
from loramerge.bases.shape_cache import Shapes, shapes_of
from loramerge.errors import SourceError
from loramerge.families import TRANSFORMERS_COMPONENT
from loramerge.families.layout import NO_TABLES

if TYPE_CHECKING:
    from torch import nn

    from loramerge.families.layout import Tables

_CLIP = "CLIPTextModel"


@dataclass(frozen=True)
class Architecture:
    """The class of a model and what it is built from.

    Attributes:
        library: `diffusers`, `transformers`, or the pipeline of diffusers that brings the class with it.
        class_name: In that library.
        config: The model's config.json.
    """

    library: str
    class_name: str
    config: Mapping[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any], library: str = "", class_name: str = "") -> Architecture:
        """What a config says it is for, unless the pipeline says it.

        Args:
            config: A config.json.
            library: As in model_index.json; empty where there is none.
            class_name: The same.
        """
        if class_name:
            return cls(library, class_name, config)
        if "_class_name" in config:
            return cls("diffusers", str(config["_class_name"]), config)
        said = config.get("architectures")
        return cls("transformers", str(said[0]) if isinstance(said, list | tuple) and said else _CLIP, config)

    def component(self, name: str, where: str, tables: Tables = NO_TABLES) -> Component:
        """The component that such a model is.

        Args:
            name: Of the component.
            where: Its config.json, for messages.
            tables: What files call its layers.

        Raises:
            SourceError: No model can be built from the config.
        """
        try:
            shapes = shapes_of(self.class_name, self.config, self._measured)
        except Exception as error:  # noqa: BLE001  whatever upstream raises on a config that nobody meant
            raise SourceError(f"{where} describes no model that can be built: {error}") from None
        prefix = CLIP_PREFIX if self.class_name.startswith(_CLIP) else ""
        named: Callable[[str], str] = partial(canonical, prefix=prefix)
        if name == TRANSFORMERS_COMPONENT and shapes.renamed:
            named = partial(_in_checkpoints, renamed=shapes.renamed)
        stacks = shapes.stacks if name == TRANSFORMERS_COMPONENT else {}
        experts = {each[0]: (stack, each[1]) for stack in stacks.values() for each in stack.layers()}
        return Component(
            name,
            self.config,
            modules={named(live): shape for live, shape in shapes.layers.items()}
            | {module: stack.layer_shape for module, (stack, _) in experts.items()},
            live={named(live): live for live in shapes.layers}
            | {module: live for module, (_, live) in experts.items()},
            parameters={named(live): shape for live, shape in shapes.parameters.items()},
            transposed=frozenset(map(named, shapes.transposed)),
            stacks=stacks,
            routers=frozenset(map(named, shapes.routers)),
            kept={dtype: frozenset(map(named, names)) for dtype, names in shapes.kept.items()},
            tied={named(live): named(other) for live, other in shapes.tied.items()},
            tables=tables,
            prefix=prefix,
        )

    def _measured(self) -> Shapes:
        from torch import nn

        model = self._built()
        layers, transposed = {}, []
        for name, layer in model.named_modules():
            # A convolution in groups is no low-rank matrix: each group reads channels of its own.
            if isinstance(layer, nn.Linear) or (
                isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and layer.groups == 1
            ):
                layers[name] = tuple(layer.weight.shape)
            elif type(layer).__name__ == "Conv1D":  # transformers' linear layer of GPT-2, whose weight is in×out
                layers[name] = tuple(layer.weight.shape)[::-1]
                transposed.append(name)
        routers, renamed, stacks = dict[str, tuple[int, ...]](), dict[str, str](), dict[str, Stack]()
        if self.library == "transformers":
            routers, stacks = routers_of(model, layers), stacks_of(model)
            layers |= routers
            renamed = checkpoint_names(model, layers)
        parameters = {name: tuple(each.shape) for name, each in model.named_parameters()}
        kept = kept_in(model, self.library, layers)
        return Shapes(layers, parameters, renamed, transposed, _tied(model), kept, stacks, tuple(routers))

    def _built(self) -> nn.Module:
        import torch

        with quiet(drawing=self.library != "transformers"), torch.device("meta"):
            model: nn.Module
            if self.library == "transformers":
                found = self._class_of("transformers", self.class_name)
                config = found.config_class.from_dict(dict(self.config))
                config._attn_implementation = "eager"  # noqa: SLF001  transformers' own switch; others need packages
                model = found(config)
            else:
                model = self._diffusers_class().from_config(dict(self.config))
        return model.eval()

    def _diffusers_class(self) -> Any:
        if self.library == "diffusers":
            return self._class_of("diffusers", self.class_name)
        return self._class_of(f"diffusers.pipelines.{self.library}", self.class_name)

    @staticmethod
    def _class_of(module: str, name: str) -> Any:
        from importlib import import_module
        from importlib.metadata import version

        library = module.partition(".")[0]
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError):
            raise LookupError(
                f"{library} {version(library)} has no class {name}; its code is never taken from the model"
            ) from None


def _tied(model: nn.Module) -> dict[str, str]:
    """Parameter → the first one that is the same."""
    first: dict[int, str] = {}
    every = list(model.named_parameters(remove_duplicate=False))
    for name, parameter in every:
        first.setdefault(id(parameter), name)
    return {name: first[id(parameter)] for name, parameter in every if first[id(parameter)] != name}


def _in_checkpoints(live: str, renamed: Mapping[str, str]) -> str:
    """The name of a layer in checkpoints, or that of a layer's parameter."""
    if live in renamed:
        return renamed[live]
    layer, _, parameter = live.rpartition(".")
    return f"{renamed[layer]}.{parameter}" if layer in renamed else live
