"""The model families: one file for each, listed here. Everything that is said of one is data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from loramerge.families.ace_step import ACE_STEP
from loramerge.families.amused import AMUSED
from loramerge.families.anima import ANIMA
from loramerge.families.animatediff import ANIMATEDIFF
from loramerge.families.anyflow import ANYFLOW
from loramerge.families.auraflow import AURAFLOW
from loramerge.families.bria_fibo import BRIA_FIBO
from loramerge.families.bria_fibo2 import BRIA_FIBO2
from loramerge.families.chroma import CHROMA
from loramerge.families.chronoedit import CHRONOEDIT
from loramerge.families.cogvideox import COGVIDEOX
from loramerge.families.cogview4 import COGVIEW4
from loramerge.families.cosmos import COSMOS
from loramerge.families.ernie_image import ERNIE_IMAGE
from loramerge.families.family import Config, Family, PublishedModel
from loramerge.families.flux import FLUX
from loramerge.families.flux2 import FLUX2
from loramerge.families.flux3 import FLUX3
from loramerge.families.framepack import FRAMEPACK
from loramerge.families.helios import HELIOS
from loramerge.families.hidream import HIDREAM
from loramerge.families.hunyuan_image import HUNYUAN_IMAGE
from loramerge.families.hunyuan_video import HUNYUAN_VIDEO
from loramerge.families.hunyuan_video15 import HUNYUAN_VIDEO15
from loramerge.families.ideogram4 import IDEOGRAM4
from loramerge.families.kandinsky3 import KANDINSKY3
from loramerge.families.kandinsky5 import KANDINSKY5
from loramerge.families.krea2 import KREA2
from loramerge.families.longcat import LONGCAT
from loramerge.families.ltx import LTX
from loramerge.families.ltx2 import LTX2
from loramerge.families.lumina2 import LUMINA2
from loramerge.families.minimax_h3 import MINIMAX_H3
from loramerge.families.mochi import MOCHI
from loramerge.families.pixart import PIXART
from loramerge.families.qwen_image import QWEN_IMAGE
from loramerge.families.qwen_image21 import QWEN_IMAGE21
from loramerge.families.rfd4_proteina import RFD4_PROTEINA
from loramerge.families.sana import SANA
from loramerge.families.sana_video import SANA_VIDEO
from loramerge.families.sd2 import SD2
from loramerge.families.sd3 import SD3
from loramerge.families.sd15 import SD15
from loramerge.families.sdxl import SDXL
from loramerge.families.skyreels_v2 import SKYREELS_V2
from loramerge.families.text_to_video import TEXT_TO_VIDEO
from loramerge.families.transformers_models import TRANSFORMERS_COMPONENT, model_family
from loramerge.families.wan import WAN
from loramerge.families.wan_animate import WAN_ANIMATE
from loramerge.families.wan_animate_2 import WAN_ANIMATE_2
from loramerge.families.wan_vace import WAN_VACE
from loramerge.families.wuerstchen import WUERSTCHEN
from loramerge.families.z_image import Z_IMAGE

__all__ = [
    "FAMILIES",
    "SIZES",
    "TRANSFORMERS_COMPONENT",
    "Family",
    "FamilyName",
    "model_family",
    "named",
    "published",
    "recognise",
    "title_of",
    "told_by",
    "with_size",
]

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        SD15,
        SD2,
        SDXL,
        FLUX,
        FLUX2,
        FLUX3,
        CHROMA,
        SD3,
        QWEN_IMAGE,
        QWEN_IMAGE21,
        Z_IMAGE,
        HUNYUAN_VIDEO,
        FRAMEPACK,
        HUNYUAN_IMAGE,
        HUNYUAN_VIDEO15,
        LUMINA2,
        AURAFLOW,
        LONGCAT,
        BRIA_FIBO,
        BRIA_FIBO2,
        WAN,
        WAN_VACE,
        WAN_ANIMATE,
        WAN_ANIMATE_2,
        SKYREELS_V2,
        CHRONOEDIT,
        HELIOS,
        ANYFLOW,
        LTX,
        LTX2,
        KREA2,
        ANIMA,
        COSMOS,
        IDEOGRAM4,
        MINIMAX_H3,
        HIDREAM,
        KANDINSKY5,
        COGVIDEOX,
        COGVIEW4,
        MOCHI,
        SANA,
        SANA_VIDEO,
        PIXART,
        ERNIE_IMAGE,
        ACE_STEP,
        RFD4_PROTEINA,
        KANDINSKY3,
        TEXT_TO_VIDEO,
        ANIMATEDIFF,
        AMUSED,
        WUERSTCHEN,
    )
}
SIZES: tuple[str, ...] = tuple(
    name
    for family in FAMILIES.values()
    if family.published
    for name in (family.name, *(f"{family.name}/{size}" for size in family.published))
)
"""What a recipe can say instead of a source: a family, whose first size is meant, or a family and its size."""
if TYPE_CHECKING:
    FamilyName = str
else:
    FamilyName = Literal[SIZES]
_OTHER_DENOISERS = ("unet", "transformer", "transformer_2", "prior", "decoder")


def recognise(class_name: str, config: Config) -> Family:
    """The family of a denoiser, or one that knows nothing but its class: its LoRAs have diffusers' names.

    Args:
        class_name: Of diffusers or transformers.
        config: Its config.json.
    """
    for family in FAMILIES.values():
        if class_name in family.classes and family.is_this(config):
            return family
    return named(class_name)


def named(name: str) -> Family:
    """A family by its name, or what `recognise` makes of a class that is of none: the class is its name.

    Args:
        name: As reports have it.
    """
    return FAMILIES.get(name) or Family(name=name, title=name, classes=(name,), denoisers=_OTHER_DENOISERS)


def published(name: str) -> tuple[Family, str, PublishedModel]:
    """A family, and the size of it that is meant.

    Args:
        name: One of `SIZES`.

    Returns:
        The family, the name of the size, and what it is.
    """
    family_name, _, size = name.partition("/")
    family = FAMILIES[family_name]
    chosen = size or next(iter(family.published))
    return family, chosen, family.published[chosen]


def with_size(name: str) -> str:
    """The size's full name: a family's first where none is said."""
    return name if "/" in name or name not in SIZES else f"{name}/{published(name)[1]}"


def title_of(name: str) -> str:
    """A family's or a size's title; the name itself of what is no family that is known."""
    family, _, size = name.partition("/")
    if family not in FAMILIES:
        return name
    return f"{FAMILIES[family].title} ({size})" if size else FAMILIES[family].title


def told_by(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The families that a file says it is for: kohya's `ss_base_model_version`, or the model specification.

    The families whose marks say most of it come alone: `sdxl` is no `sd`.
    """
    said = [metadata.get(key, "").lower() for key in ("ss_base_model_version", "modelspec.architecture")]
    fits = {family.name: max((_length(family.marks, each) for each in said), default=0) for family in FAMILIES.values()}
    best = max(fits.values())
    return tuple(name for name, fit in fits.items() if fit == best) if best else ()


def _length(marks: Iterable[str], said: str) -> int:
    return max((len(mark) for mark in marks if said.startswith(mark)), default=0)
