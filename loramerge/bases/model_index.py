"""What a diffusers pipeline consists of, as its model_index.json says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from loramerge.bases.blocks import COMPONENTS
from loramerge.bases.pipeline_class import task_of
from loramerge.errors import MismatchError, SourceError
from loramerge.families import FAMILIES
from loramerge.families.unet import UNET

FILE = "model_index.json"
_STABLE_DIFFUSION = re.compile(
    r"(?:StableDiffusion(?P<xl>XL)?|LatentConsistencyModel)(?P<guide>ControlNet(?:Union|XS)?|Adapter)?(?:PAG)?"
    r"(?P<picture>Img2Img|Inpaint|InstructPix2Pix|Depth2Img)?Pipeline"
)


@dataclass(frozen=True)
class ModelIndex:
    """A pipeline.

    Attributes:
        pipeline: Its class.
        classes: Name → (library, class) of everything that it consists of; what it does without is left out.
    """

    pipeline: str
    classes: Mapping[str, tuple[str, str]]

    @classmethod
    def parse(cls, index: Mapping[str, Any], reference: str) -> ModelIndex:
        """Read the content of a model_index.json.

        Args:
            index: Its content.
            reference: The base, for messages.

        Raises:
            SourceError: A component's entry is damaged.
            MismatchError: A pipeline without any component that LoRAs touch.
        """
        for name in COMPONENTS:
            _check(index.get(name), f"{reference}/{FILE}: {name}")
        # [null, null] or null is what a pipeline does without; a number or a truth value is a setting.
        named = {
            name: entry for name, entry in index.items() if isinstance(entry, list) and entry[:1] not in ([], [None])
        }
        found = cls(
            str(index.get("_class_name")), {name: (str(entry[0]), str(entry[-1])) for name, entry in named.items()}
        )
        if not found.trainable:
            raise MismatchError(
                f"{reference} is a {found.pipeline} without any part that LoRAs are made for",
                hint=f"choose a base with one of {', '.join(COMPONENTS[:-1])}",
            )
        return found

    @property
    def trainable(self) -> tuple[str, ...]:
        """The components that LoRAs can touch."""
        return tuple(name for name in COMPONENTS if name in self.classes)

    @property
    def plain(self) -> str:
        """The class that draws from a prompt with the same parts, where there is one: `Img2Img` has no others."""
        return self.pipeline.replace("Img2Img", "")

    @property
    def task(self) -> str:
        """The Hub's task of what it is for; empty where no family is known that has such a denoiser."""
        if found := _STABLE_DIFFUSION.fullmatch(self.pipeline):
            return "image-to-image" if found["guide"] or found["picture"] else "text-to-image"
        if UNET in self._denoisers:  # DeepFloyd IF and Kolors have UNets of the same class
            return ""
        # Of families with the same class, that which has pipelines with such an index: Cosmos, and not Anima.
        indexed = (each for each in FAMILIES.values() if each.card.opens == "DiffusionPipeline")
        family = next((each for each in indexed if self._denoisers & {*each.classes}), None)
        return task_of(self.pipeline, family.card.pipeline_tag) if family else ""

    @property
    def draws_from_text(self) -> bool:
        """Whether its parts draw from a prompt alone, as those of `Img2Img` do, which are those of the plain pipeline.

        What is filled, followed or told apart by depth comes in through further inputs of the denoiser, or parts beside
        it; what is edited comes in with the noise.
        """
        return replace(self, pipeline=self.plain).task == "text-to-image"

    @property
    def _denoisers(self) -> set[str]:
        return {name for _, name in self.classes.values()}

    def owner(self, folder: str) -> str | None:
        """The component whose files a folder holds; None where the pipeline does not use it.

        Several ControlNets are one component with a folder for each: `controlnet`, `controlnet_1`, ….
        """
        if folder in self.classes:
            return folder
        first = re.sub(r"_\d+$", "", folder)
        return first if self.classes.get(first, ("", ""))[1].startswith("Multi") else None


def _check(entry: object, shown: str) -> None:
    if entry is not None and (not isinstance(entry, list) or len(entry) != 2):  # noqa: PLR2004  library and class
        raise SourceError(f"{shown} should be [library, class], it is {entry!r}", hint="fetch the base again")
