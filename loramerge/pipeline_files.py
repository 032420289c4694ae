"""Which files of a diffusers pipeline are needed to load it with its weights: one variant of each component."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loramerge.errors import SourceError

if TYPE_CHECKING:
    from loramerge.sources import Located

_WEIGHTS = re.compile(
    r"^(?:diffusion_pytorch_)?model(?:\.(?P<variant>(?!safetensors)[\w-]+))?(?:-\d{5}-of-\d{5})?(?:\.(?P<late>[\w-]+))?"
    r"\.(?P<kind>safetensors|bin)$"
)
_PLAIN = (".json", ".txt", ".model")


def pipeline_files(located: Located, variant: str | None) -> tuple[str, ...]:
    """Configs, tokenizers, and the weights of one variant.

    A component that lacks the variant is taken without it, as diffusers does.

    Args:
        located: The base.
        variant: `fp16` and the like; None for the plain files.

    Raises:
        SourceError: A component has weights, but none in safetensors.
    """
    folders: dict[str, list[str]] = {}
    for name in located.files:
        folder, _, file = name.rpartition("/")
        if folder.count("/") == 0 and (folder or file == "model_index.json"):
            folders.setdefault(folder, []).append(file)
    return tuple(
        f"{folder}/{file}" if folder else file
        for folder, files in sorted(folders.items())
        for file in sorted([*_plain(files), *_weights(f"{located.reference}/{folder}", files, variant)])
    )


def has_variant(names: tuple[str, ...], variant: str | None) -> bool:
    """Whether any of the chosen weights are of the variant."""
    return variant is not None and any(_variant_of(name.rpartition("/")[2]) == variant for name in names)


def _plain(files: list[str]) -> list[str]:
    return [file for file in files if file.endswith(_PLAIN)]


def _weights(component: str, files: list[str], variant: str | None) -> list[str]:
    weights = [file for file in files if _WEIGHTS.match(file)]
    safe = [file for file in weights if file.endswith(".safetensors")]
    if weights and not safe:
        raise SourceError(
            f"{component} has its weights in {weights[0]} only: a pickle can run code when it is opened",
            hint="choose a base (or a revision of it) with safetensors weights",
        )
    chosen = [file for file in safe if _variant_of(file) == variant] or [
        file for file in safe if _variant_of(file) is None
    ]
    if safe and not chosen:
        known = ", ".join(sorted({str(_variant_of(file)) for file in safe}))
        raise SourceError(f"{component} has no weights without a variant", hint=f"set base.variant to one of {known}")
    return chosen


def _variant_of(file: str) -> str | None:
    match = _WEIGHTS.match(file)
    return (match["variant"] or match["late"]) if match else None
