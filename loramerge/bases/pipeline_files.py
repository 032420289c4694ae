"""Which files of a diffusers pipeline are needed to load it with its weights: one variant of each component."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import SourceError
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.sources import Located

_WEIGHTS = re.compile(
    r"^(?:diffusion_pytorch_)?model(?:\.(?P<variant>(?!safetensors)[\w-]+))?(?:-\d{5}-of-\d{5})?(?:\.(?P<late>[\w-]+))?"
    r"\.(?P<kind>safetensors|bin)$"
)
_PLAIN = (".json", ".txt", ".model")


@dataclass(frozen=True)
class PipelineFiles:
    """The files of a pipeline that are used.

    Attributes:
        folder: Where they lie, among others perhaps.
        names: '/'-separated, relative to it.
        variant: Of the weights, for those components that have it; None for the plain ones.
    """

    folder: Path
    names: tuple[str, ...]
    variant: str | None

    def weights(self, component: str) -> tuple[Path, ...]:
        """The weight files of one component."""
        found = [name for name in self.names if name.startswith(f"{component}/") and name.endswith(".safetensors")]
        return tuple(self.folder / name for name in found)


def pipeline_files(located: Located, variant: str | None) -> tuple[str, ...]:
    """Configs, tokenizers, and the weights of one variant.

    A component that lacks the variant is taken without it, as diffusers does.

    Args:
        located: The base.
        variant: `fp16` and the like; None for the plain files.

    Raises:
        SourceError: A component has weights, but none in safetensors; or no component has the variant.
    """
    folders: dict[str, list[str]] = {}
    for name in located.files:
        folder, _, file = name.rpartition("/")
        if folder.count("/") == 0 and (folder or file == "model_index.json"):
            folders.setdefault(folder, []).append(file)
    known = {_variant_of(file) for files in folders.values() for file in files} - {None}
    if variant is not None and variant not in known:
        raise SourceError(
            f"{located.reference} has no weights of the variant {variant}",
            hint=f"set base.variant to {some(sorted(map(str, known)))}" if known else "leave base.variant out",
        )
    return tuple(
        f"{folder}/{file}" if folder else file
        for folder, files in sorted(folders.items())
        for file in sorted([*_plain(files), *_weights(f"{located.reference}/{folder}", files, variant)])
    )


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
