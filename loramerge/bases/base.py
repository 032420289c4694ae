"""The base without its weights: which modules its components have, their shapes, and the family that it is of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from loramerge.bases import model_index
from loramerge.bases.anatomy import Anatomy
from loramerge.bases.architecture import Architecture
from loramerge.bases.blocks import COMPONENTS
from loramerge.bases.component import Component
from loramerge.bases.model_index import ModelIndex
from loramerge.bases.on_demand import Components
from loramerge.bases.quantised import refuse_gguf
from loramerge.errors import SourceError
from loramerge.families import FAMILIES, TRANSFORMERS_COMPONENT, model_family, recognise
from loramerge.families.unet import UNET
from loramerge.files.reading import read_json
from loramerge.messages import any_of, some

if TYPE_CHECKING:
    from loramerge.bases.checkpoint import Checkpoint
    from loramerge.families import Family
    from loramerge.sources import Located

__all__ = ["Base", "Component", "config_files", "from_architectures", "from_configs", "read_base", "unknown_model"]
MODEL_CONFIG = "config.json"
_SAFETENSORS = ".safetensors"
SCHEDULER = "scheduler/scheduler_config.json"
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}


@dataclass(frozen=True)
class Base:
    """What a recipe's base turned out to be.

    Attributes:
        reference: As the recipe gives it.
        family: Of its denoiser.
        components: By name, in the order in which they are shown; made when they are asked for.
        size: Of those that the family was published in; None where the base was read.
        prediction: `v` or `epsilon`, what its UNet predicts as its scheduler's config says; None where it does not.
        pipeline: The class of its pipeline; empty where it has none, or nothing but its family is known.
        has_scheduler: It is the folder of a pipeline with the config of a scheduler.
        checkpoint: How its file names what it holds, where it is one file; None where it is a folder, or none at all.
    """

    reference: str
    family: Family
    components: Mapping[str, Component]
    size: str | None = None
    prediction: str | None = None
    pipeline: str = ""
    has_scheduler: bool = False
    checkpoint: Checkpoint | None = None

    @property
    def denoisers(self) -> tuple[str, ...]:
        """Names of the components that make the picture out of noise; those with high noise first.

        The one component, where the base has no other.
        """
        found = tuple(name for name in self.family.denoisers if name in self.components)
        return found or tuple(self.components)[:1]

    @property
    def main(self) -> str:
        """The denoiser, the first where there are two."""
        return self.denoisers[0]

    def anatomy(self, components: Collection[str]) -> Anatomy:
        """Its blocks and kinds of layers.

        Args:
            components: Those to look at: text encoders are large, and few LoRAs touch them.
        """
        chosen = [self.components[name] for name in self.components if name in components]
        return Anatomy(tuple(block for component in chosen for block in component.blocks), self.family.kinds)

    @property
    def is_lone(self) -> bool:
        """Whether its folder is that of one model: of transformers, or a part of a pipeline of diffusers by itself."""
        return not self.pipeline and self.checkpoint is None

    @property
    def is_model(self) -> bool:
        """Whether it is a lone model of transformers, no pipeline that draws."""
        return TRANSFORMERS_COMPONENT in self.components


def config_files(located: Located) -> tuple[str, ...]:
    """The files that say what a base is: all that adapter outputs need of it.

    Raises:
        SourceError: It is neither a diffusers pipeline nor a model of transformers or diffusers.
    """
    if model_index.FILE in located.files:
        wanted = (*(f"{component}/{MODEL_CONFIG}" for component in COMPONENTS), SCHEDULER)
        return (model_index.FILE, *(name for name in wanted if name in located.files))
    if MODEL_CONFIG in located.files:
        return (MODEL_CONFIG,)
    if file := single_file(located):
        return (file,)
    seen = some(located.files) or "nothing"
    files = [name for name in located.files if name.endswith(_SAFETENSORS)]
    raise SourceError(
        f"{located.reference} is no base: it has neither the model_index.json of a diffusers pipeline nor the "
        f"config.json of a model (found {seen})",
        hint="give the folder or repository that from_pretrained takes, or one safetensors file"
        + (f": {any_of(f'{located.reference}/{each}' for each in files[:4])}" if files else ""),
    )


def single_file(located: Located) -> str | None:
    """The name of the one file that a base is; None where it is a folder.

    Raises:
        SourceError: It is a GGUF file.
    """
    if len(located.files) != 1:
        return None
    (name,) = located.files
    refuse_gguf(name, located.reference)
    return name if name.endswith(_SAFETENSORS) else None


def read_base(reference: str, folder: Path, names: Collection[str] = (), told: Base | None = None) -> Base:
    """Read a base's configs, or the header of the file that it is; no weight is read.

    Args:
        reference: As the recipe gives it, for messages.
        folder: Where the files lie.
        names: Those files, and others perhaps. A scheduler's config is read only where it is among them: a lock of
            an earlier version has none.
        told: What its one file is, where the recipe says that.

    Raises:
        SourceError: A config is missing or damaged, or describes no model that LoRAs are made for; or a file is
            unsound, or holds no model that is known.
        MismatchError: A pipeline without any component that LoRAs touch; or a file that fits several families, or not
            what was told.
    """
    if [*names] and all(name.endswith(_SAFETENSORS) for name in names):
        from loramerge.bases.from_file import base_of_file  # which needs this module

        (name,) = names
        return base_of_file(reference, folder / name, told)
    if not (folder / model_index.FILE).exists():
        return _model(reference, read_json(folder / MODEL_CONFIG, f"{reference}/{MODEL_CONFIG}"))
    index = ModelIndex.parse(read_json(folder / model_index.FILE, f"{reference}/{model_index.FILE}"), reference)
    found = {}
    for name in index.trainable:
        config = read_json(folder / name / MODEL_CONFIG, f"{reference}/{name}/{MODEL_CONFIG}")
        found[name] = Architecture.of(config, *index.classes[name])
    scheduler = read_json(folder / SCHEDULER, f"{reference}/{SCHEDULER}") if SCHEDULER in names else {}
    prediction = _PREDICTIONS.get(str(scheduler.get("prediction_type")))
    known = from_architectures(reference, found)
    has_scheduler = "scheduler" in index.classes and (folder / SCHEDULER).exists()
    return replace(known, prediction=prediction, pipeline=index.pipeline, has_scheduler=has_scheduler)


def _model(reference: str, config: Mapping[str, Any]) -> Base:
    """A lone model: one of transformers, or a denoiser of diffusers without its pipeline."""
    architecture = Architecture.of(config)
    if architecture.library == "diffusers":
        found = recognise(architecture.class_name, config)
        named = found.denoisers[0] if found.name in FAMILIES else "transformer"
        name = "unet" if "UNet" in architecture.class_name else named
    elif config.get("architectures"):
        name = TRANSFORMERS_COMPONENT
    else:
        raise SourceError(
            f"{reference}/{MODEL_CONFIG} does not say of which class the model is",
            hint="its `architectures` should name one; fetch the base again",
        )
    return from_architectures(reference, {name: architecture})


def unknown_model() -> Base:
    """A lone model of which nothing is known: no name is one of its layers."""
    return Base("", model_family(""), Components({TRANSFORMERS_COMPONENT: _without_layers}))


def _without_layers() -> Component:
    return Component(TRANSFORMERS_COMPONENT, {}, {}, {}, {})


def from_configs(reference: str, configs: Mapping[str, Mapping[str, Any]]) -> Base:
    """The base that these component configs describe.

    Raises:
        SourceError: No model can be built from one of them; when that one is asked for.
    """
    return from_architectures(
        reference,
        {
            name: Architecture.of({"_class_name": UNET, **config} if name == "unet" else config)
            for name, config in configs.items()
        },
    )


def from_architectures(reference: str, architectures: Mapping[str, Architecture]) -> Base:
    """The base whose components are of these architectures.

    Raises:
        SourceError: No model can be built from one of them; when that one is asked for.
    """
    first = next((name for name in COMPONENTS if name in architectures), "")
    known = architectures[first]
    is_model = first == TRANSFORMERS_COMPONENT
    family = model_family(known.class_name) if is_model else recognise(known.class_name, known.config)

    def made(name: str, architecture: Architecture) -> Component:
        where = PurePosixPath(reference.removeprefix("hf://")) / ("" if name == TRANSFORMERS_COMPONENT else name)
        return architecture.component(name, str(where / MODEL_CONFIG), family.tables(name, architecture.config))

    makers = {name: partial(made, name, architectures[name]) for name in COMPONENTS if name in architectures}
    return Base(reference, family, Components(makers))
