"""What a model family is: all that the program knows of one is data of this form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from loramerge.families.layout import NO_TABLES, Tables

if TYPE_CHECKING:
    from loramerge.families.layout import Rule

Config = Mapping[str, Any]


@dataclass(frozen=True)
class PublishedModel:
    """A model of a family, as it was published.

    Attributes:
        repository: Where the Hub has it, in diffusers' layout.
        configs: What the config.json of each component says, as far as it makes its sizes; `_class_name` is the class
            of one of diffusers', `architectures` of one of transformers'.
        pipeline: The class of its pipeline in diffusers, where that takes more than a prompt, or makes something else
            than most of its family do.
    """

    repository: str
    configs: Mapping[str, Config]
    pipeline: str = ""


@dataclass(frozen=True)
class TextEncoder:
    """What files call a text encoder.

    Attributes:
        kohya: The prefixes of its flat names; the first is the one that is written. None where no program reads them.
        comfyui: What ComfyUI calls it, between `text_encoders.` and `.transformer.`; empty where it has none.
        names: Rules from ComfyUI's names of its layers, where those are others than transformers'.
        checkpoint: What its names begin with in an original checkpoint that holds it beside the denoiser; empty where
            there are none but those that ComfyUI has saved.
        original: Rules from the names that it has there; none where they are those of transformers.
        transposed: Names, in transformers, of the matrices that a checkpoint with names of its own has as in×out.
    """

    kohya: tuple[str, ...]
    comfyui: str = ""
    names: tuple[Rule, ...] | None = None
    checkpoint: str = ""
    original: tuple[Rule, ...] = ()
    transposed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Card:
    """What the model card of a merge says of its kind, and how programs take it.

    Attributes:
        pipeline_tag: The Hub's task.
        tags: Of the family.
        library: That loads it.
        opens: The class of diffusers that loads a pipeline.
        opens_file: The class of diffusers that loads a checkpoint with all parts in it; empty where there are none.
        loads: What has the method that loads a LoRA in diffusers' format: the pipeline, or its denoiser alone.
        guidance: What its pipelines call how closely they follow the prompt.
        no_negative_prompt: What its pipelines take for none, where guidance works beside a negative prompt alone.
        webuis: Programs that look for LoRAs in A1111's folder, and load the family.
    """

    pipeline_tag: str = "text-to-image"
    tags: tuple[str, ...] = ()
    library: str = "diffusers"
    opens: str = "DiffusionPipeline"
    opens_file: str = ""
    loads: Literal["pipeline", "model", "nothing"] = "pipeline"
    guidance: str = "guidance_scale"
    no_negative_prompt: str = ""
    webuis: tuple[str, ...] = ()


@dataclass(frozen=True)
class Specification:
    """What kohya's trainers write into a file of the family (sd-scripts, library/sai_model_spec.py).

    Attributes:
        architecture: `modelspec.architecture`, without `/lora`.
        base_version: `ss_base_model_version`.
        resolution: `modelspec.resolution`; empty where there is none.
        implementation: `modelspec.implementation`.
    """

    architecture: str
    base_version: str
    resolution: str = ""
    implementation: str = ""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family: what its checkpoints and LoRAs call things.

    Attributes:
        name: `flux`.
        title: `FLUX.1`.
        classes: Of the denoiser, in diffusers; of the model, in transformers.
        denoisers: The components that are denoisers, those with high noise first.
        is_this: Whether a denoiser of one of the classes is of this family, by its config: three share one class.
        original: Rules from the original checkpoint's names, or what makes them of the denoiser's config; None where
            its LoRAs are known in diffusers' names alone.
        comfyui: The same for ComfyUI, where that calls things otherwise than the original checkpoint does.
        further: The same for names that a trainer made up for some layers; they are read and never written.
        named: The same for files whose keys have PEFT's name of the adapter (`lora_A.default.weight`), where those mean
            other rows by the original names; they are read and never written.
        flat_is_canonical: kohya's flat names are of diffusers' names, although there are original ones.
        diffusers_in_comfyui: ComfyUI reads diffusers' names of all its layers as well (comfy/lora.py,
            model_lora_keys_unet).
        loadable: The components beside the denoisers that diffusers' load_lora_weights takes LoRAs for
            (loaders/lora_pipeline.py, _lora_loadable_modules; of text encoders it knows CLIP's layers alone).
        text_encoders: By component; those whose LoRAs have names of their own.
        components: Further components that LoRAs touch: name in the original checkpoint → component, or a
            part of one: `connectors.text_proj_in`.
        wrapper: What original names begin with, and files may leave out.
        marks: What `ss_base_model_version`, `modelspec.architecture` and their like begin with.
        published: By name; the first is the one that is meant where only the family is said.
        kinds: Kind of layer → pattern of its names, before the common ones.
        specification: What kohya's trainers write into files; None where they train no such model.
        card: For the model card.
        files: Denoiser → what people put at the end of a file's name for it, where there are two.
        civitai: What Civitai calls the base; empty where that is not known.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    denoisers: tuple[str, ...] = ("transformer",)
    is_this: Callable[[Config], bool] = lambda _config: True
    original: tuple[Rule, ...] | Callable[[Config], tuple[Rule, ...]] | None = None
    comfyui: tuple[Rule, ...] | None = None
    further: tuple[Rule, ...] = ()
    named: Callable[[Config], tuple[Rule, ...]] | None = None
    flat_is_canonical: bool = False
    diffusers_in_comfyui: bool = False
    loadable: tuple[str, ...] = ()
    text_encoders: Mapping[str, TextEncoder] = field(default_factory=dict)
    components: Mapping[str, str] = field(default_factory=dict)
    wrapper: str = ""
    marks: tuple[str, ...] = ()
    published: Mapping[str, PublishedModel] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    specification: Specification | None = None
    card: Card = Card()
    files: Mapping[str, str] = field(default_factory=dict)
    civitai: str = ""

    @property
    def has_original_names(self) -> bool:
        """Whether its original names are known; ComfyUI and kohya's trainers use no others."""
        return self.original is not None

    @property
    def flat_in_comfyui(self) -> bool:
        """Whether ComfyUI knows kohya's flat names: its own with `_` for `.`, diffusers' of UNets (comfy/lora.py)."""
        return self.denoisers == ("unet",) or (self.comfyui is None and not self.flat_is_canonical)

    def rules(self, config: Config) -> tuple[Rule, ...]:
        """From a denoiser's original names to diffusers'; none where the original ones are not known.

        Args:
            config: The denoiser's config.json.
        """
        return (self.original(config) if callable(self.original) else self.original) or ()

    def tables(self, component: str, config: Config) -> Tables:
        """Every set of names that files have for a component; none for what is no denoiser.

        Args:
            component: Its name.
            config: Its config.json.
        """
        if component in self.text_encoders:
            return Tables(comfyui=self.text_encoders[component].names)
        if component not in self.denoisers:
            return NO_TABLES
        return Tables(self.rules(config), self.comfyui, self.further, self.named(config) if self.named else ())
