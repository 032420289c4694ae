"""Models as CNCF's ModelPack has them: what layers are called by, and the config that describes a model.

https://github.com/modelpack/model-spec/blob/main/docs/spec.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from loramerge.registry.manifest import FILE_PATH, TITLE, Descriptor, as_json

if TYPE_CHECKING:
    from loramerge.registry.manifest import Manifest
    from loramerge.registry.repository import ArtifactRepository

ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
LICENCES = "org.opencontainers.image.licenses"
_FILE = "org.cncf.model.file.metadata+json"
_WEIGHT, _DOC, _CODE, _SETTINGS = ("weight", "doc", "code", "weight.config")
_KINDS = {".safetensors": _WEIGHT, ".py": _CODE} | dict.fromkeys((".md", ".html", ".png", ".jpg", ".sig"), _DOC)
_NUMBERS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3",
    "F8_E5M2": "float8_e5m2",
    "BOOL": "bool",
}
_NUMBERS |= {
    f"{sign}{bits}": f"{name}{bits}" for sign, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}
_LARGEST_CONFIG = 1 << 20


def layer(name: str, sha256: str, size: int, *, paper: bool) -> Descriptor:
    """A file as a layer that holds it as it is.

    Its metadata are the same wherever it is made: a mode that lets everybody read it, nobody's, of no time.

    Args:
        name: What it is called in the artifact.
        sha256: 64 hex digits.
        size: In bytes.
        paper: Whether it says something of the model, and is no part of it.
    """
    kind = _DOC if paper else _KINDS.get(PurePosixPath(name).suffix, _SETTINGS)
    file = {"name": PurePosixPath(name).name, "mode": 0o644, "uid": 0, "gid": 0, "size": size}
    told = {
        FILE_PATH: name,
        TITLE: name,
        _FILE: as_json(file | {"mtime": "1970-01-01T00:00:00Z", "typeflag": 0}).decode(),
    }
    return Descriptor(f"application/vnd.cncf.model.{kind}.v1.raw", f"sha256:{sha256}", size, told)


def config(
    layers: Sequence[Descriptor], numbers: Sequence[str], descriptor: Mapping[str, str | Sequence[str] | None]
) -> bytes:
    """What describes a model; the same for the same.

    Args:
        layers: Its files.
        numbers: Number formats of its weights, as safetensors calls them.
        descriptor: What is known of it: `name`, `description`, `licenses` and the like.
    """
    precision = ",".join(sorted({_NUMBERS[each] for each in numbers if each in _NUMBERS}))
    return as_json(
        {
            "descriptor": {key: value for key, value in descriptor.items() if value},
            "config": {"format": "safetensors", **({"precision": precision} if precision else {})},
            "modelfs": {"type": "layers", "diffIds": [each.digest for each in layers]},
        }
    )


def licence_of(repository: ArtifactRepository, manifest: Manifest) -> str | None:
    """What an artifact says of its licence: in an annotation, or in ModelPack's config.

    Raises:
        RegistryError: The config can't be had.
    """
    said: Any = manifest.annotations.get(LICENCES)
    kind = manifest.config
    if said is None and kind is not None and kind.media_type == CONFIG and kind.size <= _LARGEST_CONFIG:
        try:
            said = json.loads(repository.content(kind))["descriptor"]["licenses"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
    texts = [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, str)]
    return "".join(each for each in ", ".join(texts) if each.isprintable()).strip() or None
