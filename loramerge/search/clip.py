"""CLIP, which compares pictures with each other and with texts (Radford et al., arXiv:2103.00020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loramerge.errors import SourceError
from loramerge.search.judged import Judged, Tried

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image
    from torch import Tensor

FILES = (
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)
"""What is fetched of a CLIP model, where it is there."""


class ClipModel:
    """A CLIP model of transformers, in float32 on the CPU.

    Args:
        folder: Where its files are.
        shown: What messages call it.

    Raises:
        SourceError: It can't be loaded as one.
    """

    def __init__(self, folder: Path, shown: str) -> None:
        from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

        try:
            self._model: Any = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
            self._pictures: Any = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
            self._texts: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (AttributeError, OSError, ValueError, TypeError, RuntimeError) as error:
            raise SourceError(
                f"{shown} can't be loaded as a CLIP model: {error}",
                hint="search.clip wants a folder or repository with config.json, model.safetensors, "
                "preprocessor_config.json and a tokenizer, such as hf://openai/clip-vit-base-patch32",
            ) from None

    def of_pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Unit vectors, pictures×width."""
        import torch

        with torch.no_grad():
            given = self._pictures(images=[each.convert("RGB") for each in pictures], return_tensors="pt")
            return _unit(self._model.get_image_features(**given))

    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors, texts×width; what is too long for the model is cut."""
        import torch

        longest = self._model.config.text_config.max_position_embeddings
        with torch.no_grad():
            given = self._texts(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
            names = ("input_ids", "attention_mask")
            return _unit(self._model.get_text_features(**{name: given[name] for name in names}))


@dataclass(frozen=True)
class ByClip:
    """Judges by a CLIP model.

    The score is the mean cosine of pictures and their prompts (the CLIP score, without its factor), and that of
    pictures and those of the LoRA that comes off worst.

    Attributes:
        model: It.
        own: Name of a LoRA → unit vectors of its own pictures.
    """

    model: ClipModel
    own: Mapping[str, Tensor]

    def __call__(self, tried: Tried) -> Judged:
        """The judgement."""
        found = self.model.of_pictures([each.image for each in tried.pictures])
        prompts = self.model.of_texts([each.prompt for each in tried.pictures])
        parts = {name: _mean_cosine(found, own) for name, own in self.own.items()}
        return Judged.by_the_worst(parts, beside=_mean_cosine(found, prompts))


def _mean_cosine(one: Tensor, other: Tensor) -> float:
    return float((one * other).sum(dim=1).mean())


def _unit(found: Any) -> Tensor:
    """Vectors of norm 1; transformers 5 puts them into an object."""
    vectors: Tensor = getattr(found, "pooler_output", found)
    unit: Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
    return unit
