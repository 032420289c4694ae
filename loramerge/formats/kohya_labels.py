"""What kohya's trainers write into a file besides its tensors, and what A1111 and ComfyUI read of it.

Keys after sd-scripts (library/train_util.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from loramerge.formats.model_spec import content_seal, model_spec, prediction_type, specification
from loramerge.tensor_files.header import header

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.formats.labels import Labels
    from loramerge.tensor_files.planned import Planned

_LEGACY_START, _LEGACY_SIZE = 0x100000, 0x10000
UNKNOWN_HASHES = {"sshs_model_hash": "0" * 64, "sshs_legacy_hash": "0" * 8}
"""As long as the hashes that take their place."""


def metadata(labels: Labels, base: Base, *, alpha: float, rank: str) -> dict[str, str]:
    """All that can be said before the tensors are written.

    Args:
        labels: What the file says of itself.
        base: What it fits.
        alpha: Of most modules.
        rank: Of every module, or `Dynamic`.
    """
    found = {
        "format": "pt",
        **model_spec(labels, base),
        "ss_network_alpha": str(alpha),
        "ss_network_dim": rank,
        "ss_network_module": "networks.lora",
        "ss_output_name": labels.name,
        **labels.origin(),
        **UNKNOWN_HASHES,
    }
    if known := specification(base, labels.prediction_types):
        found["ss_base_model_version"] = known.base_version
    if prediction_type(base, labels.prediction_types) == "v":
        found["ss_v_parameterization"] = "True"
    if base.family.name == "sd2":
        found["ss_v2"] = "True"
    if labels.tag_frequency:
        found["ss_tag_frequency"] = json.dumps(labels.tag_frequency, sort_keys=True, ensure_ascii=False)
    kept = dict(labels.kept)
    if kept.get("ss_network_dim", rank) != rank:  # fused layers may have another rank than their parts
        kept = {key: value for key, value in kept.items() if key not in {"ss_network_dim", "ss_network_alpha"}}
    return found | kept


def hashes(
    planned: Sequence[Planned], found: Mapping[str, str], content: str, start: int, file: BinaryIO
) -> dict[str, str]:
    """What A1111 knows a LoRA by, and the specification's hash; all leave out what a user may change of the metadata.

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
    legacy = hashlib.sha256(window[:_LEGACY_SIZE]).hexdigest()[:8]
    sealed = content_seal(planned, found, content, start, file)
    return {"sshs_model_hash": content, "sshs_legacy_hash": legacy, **sealed}
