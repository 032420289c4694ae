"""What a file says of its model under `modelspec.`, as the specification has it.

ModelSpec 1.0.1 (https://github.com/Stability-AI/ModelSpec). There is no `date`: the same recipe is the same file, to
the byte, whenever it is built. Where no trainer has a name for an architecture there is none: programs take one that
they do not know for a model that they do not know, and would else tell it by its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from loramerge.families.family import Specification

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.formats.labels import Labels
    from loramerge.tensor_files.planned import Planned

VERSION = "1.0.1"
PREFIX = "modelspec."
TRIGGER_PHRASE = "modelspec.trigger_phrase"
LICENCE = "modelspec.license"
HASH = "modelspec.hash_sha256"
UNKNOWN_HASH = {HASH: "0x" + "0" * 64}
"""As long as the hash that takes its place."""
OURS = frozenset({"modelspec.sai_model_spec", "modelspec.implementation", HASH})
"""What depends on the file that is written, whatever is copied into it."""
_LARGE = Specification(
    "stable-diffusion-v2-768-v", "sd_v2_v", "768x768", "https://github.com/Stability-AI/generative-models"
)
_LARGE_SD2 = 96
"""`sample_size` of the UNets of Stable Diffusion 2 at 768 pixels, which predict v."""


def model_spec(labels: Labels, base: Base, implementation: str | None = None) -> dict[str, str]:
    """What is known of a LoRA. Of keys that have no answer there are none.

    Args:
        labels: What the file says of itself.
        base: What it fits.
        implementation: The code whose names the tensors have; that of the original checkpoint by default.
    """
    known = specification(base, labels.prediction_types)
    found = {
        "modelspec.sai_model_spec": VERSION,
        "modelspec.title": labels.name,
        "modelspec.architecture": f"{known.architecture}/lora" if known else "",
        "modelspec.implementation": implementation or (known.implementation if known else ""),
        "modelspec.resolution": known.resolution if known else "",
        "modelspec.prediction_type": prediction_type(base, labels.prediction_types) or "",
        "modelspec.description": labels.description,
        "modelspec.merged_from": "" if labels.is_converted else ", ".join(labels.inputs),
        TRIGGER_PHRASE: ", ".join(labels.trigger_phrases),
        LICENCE: labels.licence,
    }
    return {key: value for key, value in found.items() if value} | UNKNOWN_HASH


def converted(labels: Labels, base: Base) -> dict[str, str]:
    """The same for a LoRA that is converted into a format with diffusers' names; of a language model there is nothing.

    Args:
        labels: What the file says of itself.
        base: What it fits.
    """
    return {} if base.is_model else model_spec(labels, base, "diffusers")


def content_seal(
    planned: Sequence[Planned], found: Mapping[str, str], content: str, start: int, file: BinaryIO
) -> dict[str, str]:
    """The hash by which programs tell whether the tensors are whole.

    Args:
        planned: The tensors.
        found: The metadata.
        content: SHA-256 of all that follows the header, 64 hex digits.
        start: Where that begins.
        file: Open for reading.
    """
    del planned, found, start, file
    return {HASH: f"0x{content}"}


def specification(base: Base, said: Sequence[str] = ()) -> Specification | None:
    """What trainers write into files of a family; None where none does.

    Args:
        base: Of the family.
        said: What its LoRAs say that it predicts.
    """
    is_large = base.family.name == "sd2" and prediction_type(base, said) == "v"
    return _LARGE if is_large else base.family.specification


def prediction_said(found: Mapping[str, str]) -> str | None:
    """What a file says that its model predicts: `v`, `epsilon`, or nothing."""
    said = found.get("modelspec.prediction_type", "").lower()
    if said in {"v", "v_prediction"} or found.get("ss_v_parameterization", "").lower() == "true":
        return "v"
    if found.get("ss_base_model_version") == "sd_v2_v" or "v2-768-v" in found.get("modelspec.architecture", ""):
        return "v"
    return "epsilon" if said == "epsilon" else None


def base_prediction(base: Base) -> str | None:
    """What a base says that it predicts, in its scheduler's config, or else by the size of Stable Diffusion 2."""
    is_large = base.family.name == "sd2" and base.components["unet"].config.get("sample_size") == _LARGE_SD2
    return base.prediction or ("v" if is_large else None)


def prediction_type(base: Base, said: Sequence[str]) -> str | None:
    """What the base predicts; None for what is no UNet, and where only its LoRAs say it, and contradict each other.

    Args:
        base: What it says comes before what the LoRAs say.
        said: What the LoRAs say.
    """
    if base.main != "unet":
        return None
    if (known := base_prediction(base)) is not None:
        return known
    if len(set(said)) > 1:
        return None
    return said[0] if said else "epsilon"
