"""A base's pipeline without its weights: what it makes of sizes and prompts, before anything is drawn."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.bases import model_index
from loramerge.bases.model_index import ModelIndex
from loramerge.bases.quiet import quiet
from loramerge.errors import SourceError
from loramerge.files.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loramerge.bases.base import Base

_CONFIG, _SCHEDULER = "config.json", "scheduler_config.json"
_UNET_SIZE, _PIXELS = 128, 1024  # what pipelines of diffusers take where nothing says a size


@dataclass(frozen=True)
class BlankPipeline:
    """A pipeline whose models have no weights, and whose text encoders are not there.

    Attributes:
        pipeline: diffusers' own.
        tokenizers: By the name of their component.
        main: The denoiser's component.
    """

    pipeline: Any
    tokenizers: Mapping[str, Any]
    main: str

    @classmethod
    def of(cls, folder: Path, base: Base) -> BlankPipeline:
        """Put one together of a base's configs.

        Args:
            folder: Where the pipeline is.
            base: The same, for its denoiser's name.

        Raises:
            SourceError: A config or tokenizer can't be read, or diffusers makes no pipeline of them.
        """
        place = folder / model_index.FILE
        index = ModelIndex.parse(read_json(place, str(place)), str(folder))
        parts, tokenizers = {}, {}
        with quiet():
            for name, (library, class_name) in index.classes.items():
                if name.startswith("tokenizer"):
                    tokenizers[name] = _tokenizer(folder / name, class_name)
                elif library == "diffusers":
                    parts[name] = _part(folder / name, class_name)
            try:
                made = pipeline_class(index.plain)
                names = inspect.signature(made.__init__).parameters.keys() - {"self"}
                given = {name: (parts | tokenizers).get(name) for name in names & {*index.classes, *_needed(made)}}
                return cls(made(**given), tokenizers, base.main)
            except (AttributeError, TypeError, ValueError) as error:
                raise SourceError(f"{folder} can't be loaded as a pipeline: {error}") from None

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What a call takes."""
        return inspect.signature(type(self.pipeline).__call__).parameters

    @property
    def multiple(self) -> int:
        """What width and height of a picture have to be multiples of: what the VAE shrinks, and one patch of that."""
        patch = self._config.get("patch_size")
        shrunk = self.pipeline.vae_scale_factor * (patch if isinstance(patch, int) else 1)
        processor = getattr(self.pipeline, "image_processor", None)
        return math.lcm(shrunk, processor.config.vae_scale_factor if processor is not None else 1)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height that the base was made for, in pixels."""
        if "height" in self.parameters and isinstance(self.parameters["height"].default, int):
            return self.parameters["width"].default, self.parameters["height"].default
        own = getattr(self.pipeline, "default_sample_size", None) or self._config.get("sample_size")
        own = own or (_UNET_SIZE if self.main == "unet" else None)
        if own is None:
            return _PIXELS, _PIXELS
        height, width = own if isinstance(own, (list, tuple)) else (own, own)
        factor = self.pipeline.vae_scale_factor
        return width * factor, height * factor

    def lengths(self, prompt: str) -> Mapping[str, tuple[int, int]]:
        """Tokenizer → tokens of a prompt, start, end and what a chat has around it included, and how many it takes."""
        return {name: (_count(each, prompt), self._limit(each)) for name, each in self.tokenizers.items()}

    def _limit(self, tokenizer: Any) -> int:
        longest: int = tokenizer.model_max_length
        said = self.parameters.get("max_sequence_length")
        # CLIP has a length of its own; that of all others is the pipeline's choice.
        if said is None or not isinstance(said.default, int) or type(tokenizer).__name__.startswith("CLIP"):
            return longest
        return min(longest, said.default)

    @property
    def _config(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = getattr(self.pipeline, self.main).config
        return found


def pipeline_class(name: str) -> Any:
    """A class of diffusers.

    Raises:
        AttributeError: The installed one has no such class.
    """
    import diffusers

    return getattr(diffusers, name)


def _needed(made: Any) -> set[str]:
    parameters = inspect.signature(made.__init__).parameters
    return {name for name, each in parameters.items() if each.default is inspect.Parameter.empty} - {"self"}


def _part(place: Path, class_name: str) -> Any:
    """A scheduler, or a model without weights; None where nothing is there."""
    import torch

    if (place / _SCHEDULER).exists():
        settings = read_json(place / _SCHEDULER, str(place / _SCHEDULER))
        try:
            return pipeline_class(class_name).from_config(settings)
        except Exception as error:  # noqa: BLE001  whatever upstream raises on settings that nobody meant
            raise SourceError(f"{place.parent} can't be loaded as a pipeline: {error}") from None
    if not (place / _CONFIG).exists():
        return None
    config = read_json(place / _CONFIG, str(place / _CONFIG))
    try:
        with torch.device("meta"):
            return pipeline_class(class_name).from_config(config)
    except Exception as error:  # noqa: BLE001  whatever upstream raises on a config that nobody meant
        raise SourceError(f"{place / _CONFIG} describes no model that can be built: {error}") from None


def _tokenizer(place: Path, class_name: str) -> Any:
    import transformers

    kind = getattr(transformers, class_name, transformers.AutoTokenizer)
    try:
        found = kind.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise SourceError(f"{place} can't be loaded as a tokenizer: {error}") from None
    return getattr(found, "tokenizer", found)  # of a processor, which reads pictures as well


def _count(tokenizer: Any, prompt: str) -> int:
    if getattr(tokenizer, "chat_template", None):
        messages = [{"role": "user", "content": prompt}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return len(tokenizer(prompt).input_ids)
