"""The base without its weights: which modules its components have, their shapes, and the architecture to build."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from loramerge.bases import model_index
from loramerge.bases.blocks import COMPONENTS
from loramerge.bases.model_index import ModelIndex
from loramerge.bases.quiet import quiet
from loramerge.bases.shape_cache import Shapes, shapes_of
from loramerge.bases.skeleton import skeleton
from loramerge.errors import SourceError
from loramerge.files.reading import read_json
from loramerge.messages import some

if TYPE_CHECKING:
    from torch import nn

    from loramerge.sources import Located

SCHEDULER = "scheduler/scheduler_config.json"
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}


@dataclass(frozen=True)
class Component:
    """One part of the base that LoRAs can touch.

    Attributes:
        name: `unet`, `text_encoder` or `text_encoder_2`.
        config: Its config.json.
        modules: Shape of the weight (out×in, or out×in×kh×kw) of every linear and convolution layer, by canonical
            name, in the order in which the architecture defines them.
        live: The name that each of them has in the built model. transformers 5 builds CLIPTextModel without the
            `text_model.` that checkpoints and LoRAs have in their keys.
        parameters: Shape of everything that a checkpoint has to hold, by canonical name.
    """

    name: str
    config: Mapping[str, Any]
    modules: Mapping[str, tuple[int, ...]]
    live: Mapping[str, str]
    parameters: Mapping[str, tuple[int, ...]]

    def skeleton(self) -> nn.Module:
        """Its layers on the meta device: names and shapes, no memory."""
        return skeleton({live: self.modules[module] for module, live in self.live.items()})


@dataclass(frozen=True)
class Base:
    """What a recipe's base turned out to be.

    Attributes:
        reference: As the recipe gives it.
        family: `sd15`, `sd2` or `sdxl`.
        components: By name.
        prediction: `v` or `epsilon`, what its UNet predicts as its scheduler's config says; None where it does not.
    """

    reference: str
    family: str
    components: Mapping[str, Component]
    prediction: str | None = None


def canonical(component: str, module: str) -> str:
    """Name of a module in the base's own checkpoint, from its name in memory or in a file."""
    if component == "unet" or module.startswith(("text_model.", "text_projection")):
        return module
    return f"text_model.{module}"


def config_files(located: Located) -> tuple[str, ...]:
    """The files that say what a base is: all that adapter outputs need of it.

    Raises:
        SourceError: It is no diffusers pipeline.
    """
    if model_index.FILE not in located.files:
        seen = some(located.files) or "nothing"
        raise SourceError(
            f"{located.reference} is not a diffusers pipeline: it has no model_index.json (found {seen})",
            hint="give the folder or repository that DiffusionPipeline.from_pretrained takes",
        )
    wanted = (*(f"{component}/config.json" for component in COMPONENTS), SCHEDULER)
    return (model_index.FILE, *(name for name in wanted if name in located.files))


def read_base(reference: str, folder: Path, names: Collection[str] = ()) -> Base:
    """Read a diffusers pipeline's configs; no weight is opened.

    Args:
        reference: As the recipe gives it, for messages.
        folder: Where the files lie.
        names: Those files, and others perhaps. A scheduler's config is read only where it is among them: a lock of
            an earlier version has none.

    Raises:
        SourceError: A config is missing or damaged.
        MismatchError: A pipeline of another family.
    """
    index = ModelIndex.parse(read_json(folder / model_index.FILE, f"{reference}/{model_index.FILE}"), reference)
    configs = {
        name: read_json(folder / name / "config.json", f"{reference}/{name}/config.json") for name in index.trainable
    }
    if "unet" not in configs:
        raise SourceError(f"{reference} has no UNet; {model_index.SUPPORTED}")
    scheduler = read_json(folder / SCHEDULER, f"{reference}/{SCHEDULER}") if SCHEDULER in names else {}
    prediction = _PREDICTIONS.get(str(scheduler.get("prediction_type")))
    return replace(from_configs(reference, configs), prediction=prediction)


def from_configs(reference: str, configs: Mapping[str, Mapping[str, Any]]) -> Base:
    """The base that these component configs describe.

    Raises:
        SourceError: No model can be built from one of them.
    """
    components = {}
    for name, config in configs.items():
        try:
            shapes = shapes_of(_architecture(name, config), config, partial(_measure, name, config))
        except Exception as error:  # noqa: BLE001  whatever upstream raises on a config that nobody meant
            path = PurePosixPath(reference.removeprefix("hf://")) / name / "config.json"
            raise SourceError(f"{path} describes no model that can be built: {error}") from None
        components[name] = Component(
            name,
            config,
            modules={canonical(name, live): shape for live, shape in shapes.layers.items()},
            live={canonical(name, live): live for live in shapes.layers},
            parameters={canonical(name, live): shape for live, shape in shapes.parameters.items()},
        )
    return Base(reference, _family_of_unet(configs["unet"]), components)


def _family_of_unet(unet: Mapping[str, Any]) -> str:
    if unet.get("addition_embed_type") == "text_time":
        return "sdxl"
    return "sd2" if unet.get("use_linear_projection") else "sd15"


def _architecture(name: str, config: Mapping[str, Any]) -> str:
    if name == "unet":
        return "UNet2DConditionModel"
    projected = "CLIPTextModelWithProjection" in (config.get("architectures") or ())
    return "CLIPTextModelWithProjection" if projected else "CLIPTextModel"


def _measure(name: str, config: Mapping[str, Any]) -> Shapes:
    from torch import nn

    model = _build(name, config)
    return Shapes(
        layers={
            live: tuple(layer.weight.shape)
            for live, layer in model.named_modules()
            if isinstance(layer, nn.Linear | nn.Conv2d)
        },
        parameters={live: tuple(each.shape) for live, each in model.named_parameters()},
    )


def _build(name: str, config: Mapping[str, Any]) -> nn.Module:
    import torch

    with quiet(), torch.device("meta"):
        if name == "unet":
            from diffusers import UNet2DConditionModel

            model: nn.Module = UNet2DConditionModel.from_config(dict(config))
        else:
            import transformers

            text_model = getattr(transformers, _architecture(name, config))
            model = text_model(transformers.CLIPTextConfig.from_dict(dict(config)))
    return model.eval()
