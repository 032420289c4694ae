"""What kohya's trainers write into a file besides its tensors, and what A1111 and ComfyUI read of it.

Keys after sd-scripts (library/train_util.py, library/sai_model_spec.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from loramerge.families.family import Specification
from loramerge.tensor_files.header import header

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.formats.labels import Labels
    from loramerge.tensor_files.planned import Planned

_LARGE = Specification(
    "stable-diffusion-v2-768-v", "sd_v2_v", "768x768", "https://github.com/Stability-AI/generative-models"
)
_LARGE_SD2 = 96
"""`sample_size` of the UNets of Stable Diffusion 2 at 768 pixels, which predict v."""
_LEGACY_START, _LEGACY_SIZE = 0x100000, 0x10000
UNKNOWN_HASHES = {"sshs_model_hash": "0" * 64, "sshs_legacy_hash": "0" * 8}
"""As long as the hashes that take their place."""


def metadata(labels: Labels, base: Base, *, alpha: float, rank: str) -> dict[str, str]:
    """All that can be said before the tensors are written.

    Args:
        labels: What the file says of itself.
        base: What it fits.
        alpha: Of every module.
        rank: Of every module, or `Dynamic`.
    """
    prediction = prediction_type(base, labels.prediction_types)
    is_large = base.family.name == "sd2" and prediction == "v"
    specification = _LARGE if is_large else base.family.specification
    found = {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": labels.name,
        "modelspec.merged_from": ", ".join(labels.inputs),
        "ss_network_alpha": str(alpha),
        "ss_network_dim": rank,
        "ss_network_module": "networks.lora",
        "ss_output_name": labels.name,
        **labels.origin(),
    }
    if specification is not None:
        said = {
            "modelspec.architecture": f"{specification.architecture}/lora",
            "modelspec.implementation": specification.implementation,
            "modelspec.resolution": specification.resolution,
            "ss_base_model_version": specification.base_version,
        }
        found |= {key: value for key, value in said.items() if value}
    if prediction is not None:
        found["modelspec.prediction_type"] = prediction
    if prediction == "v":
        found["ss_v_parameterization"] = "True"
    if base.family.name == "sd2":
        found["ss_v2"] = "True"
    if labels.description:
        found["modelspec.description"] = labels.description
    if labels.trigger_phrases:
        found["modelspec.trigger_phrase"] = ", ".join(labels.trigger_phrases)
    if labels.tag_frequency:
        found["ss_tag_frequency"] = json.dumps(labels.tag_frequency, sort_keys=True, ensure_ascii=False)
    return found


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


def hashes(
    planned: Sequence[Planned], found: Mapping[str, str], content: str, start: int, file: BinaryIO
) -> dict[str, str]:
    """What A1111 knows a LoRA by; both leave out what a user may change of the metadata.

    Args:
        planned: The tensors, in the order in which they lie in the file.
        found: The metadata.
        content: SHA-256 of all that follows the header.
        start: Where that begins.
        file: Open for reading.
    """
    lasting = {key: value for key, value in found.items() if key.startswith("ss_")}
    before = header(((each.key, each.dtype, each.shape, each.size) for each in planned), lasting)
    file.seek(start + max(_LEGACY_START - len(before), 0))
    window = before[_LEGACY_START:] + file.read(_LEGACY_SIZE)
    return {"sshs_model_hash": content, "sshs_legacy_hash": hashlib.sha256(window[:_LEGACY_SIZE]).hexdigest()[:8]}
