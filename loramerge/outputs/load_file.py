"""How a base that is one file is loaded, with the merge fused in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from loramerge.formats.loading import Snippet
from loramerge.outputs.fuse_file import name_of

if TYPE_CHECKING:
    from loramerge.formats.loading import Address, Facts

_WHOLE, _DENOISER = "ComfyUI/models/checkpoints", "ComfyUI/models/diffusion_models"


def loading_file(output: str, place: Address, facts: Facts) -> Iterator[Snippet]:
    """ComfyUI reads what lies in its own folder; diffusers takes a file where it knows its names.

    Args:
        output: Folder of the output.
        place: Where the output is to be had.
        facts: What the merge was made of.
    """
    name = name_of(facts.recipe)
    folder = _WHOLE if len(facts.parts) > 1 else _DENOISER
    title = f"ComfyUI, without any LoRA: `{output}`"
    if place.repo is None:
        yield Snippet(title, "bash", f"cp {place.path(name)} {folder}/")
    else:
        revision = f" --revision {place.revision}" if place.revision else ""
        fetch = f"hf download {place.repo} {place.path(name)}{revision} --local-dir {folder}"
        yield Snippet(title, "bash", fetch)
    if facts.single_file:
        pipeline = facts.pipeline
        lines = (*pipeline.imports_to_make, "", *pipeline.loaded(place.file(name)), *pipeline.made(place))
        yield Snippet.python(f"diffusers, without any LoRA: `{output}`", *lines)
