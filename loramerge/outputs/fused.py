"""What the outputs have in common that are the base with the merged LoRA fused in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from loramerge.fields import Dtype, Scale, in_words
from loramerge.formats.loading import Address, Facts, Snippet, arguments
from loramerge.formats.output import MergeResult, Output
from loramerge.outputs.fuse import fuse


class FusedOutput(Output):
    """The base with the merged LoRA fused in: it needs no LoRA any more."""

    needs_weights: ClassVar[bool] = True

    dtype: Dtype | None = Field(None, description="Number format of the weights; that of the base's files if absent.")
    lora_scale: Scale = Field(1.0, description="What the merged LoRA is multiplied by when it is fused in.")
    max_shard_size: str = Field(
        "10GB",
        pattern=r"^[1-9][0-9]{0,5}(?:\.[0-9]{1,3})?(?:KB|MB|GB|TB)$",
        description="Largest weight file; larger ones are split.",
        json_schema_extra=in_words("a size such as 500MB or 5GB"),
    )

    @property
    def number_format(self) -> str | None:
        """The recipe's, where it gives one."""
        return self.dtype

    @property
    def fused_at(self) -> float | None:
        """The recipe's `lora_scale`."""
        return self.lora_scale

    def top_names(self, recipe: str, loras: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
        """Every pipeline has its index."""
        del recipe, loras, parts
        return ("model_index.json",)

    def write(self, result: MergeResult, folder: Path) -> dict[str, str]:
        """Write the base's files, changed where the LoRA touches them."""
        return fuse(result.base_files, result.base, result.adapter, self, folder)

    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """Diffusers takes a pipeline from a folder here, or from the root of a repository."""
        title = f"diffusers, without any LoRA: `{self.folder}`"
        pipeline = facts.pipeline
        if place.repo is None or not place.folder:
            loaded = pipeline.loaded(place.arguments())
            yield Snippet.python(title, *pipeline.imports_to_make, "", *loaded, *pipeline.made(place))
            return
        options = {"revision": place.revision} if place.revision else {}
        fetch = arguments(place.repo, **options, allow_patterns=f"{place.folder}/*")
        yield Snippet.python(
            title,
            *pipeline.imports_to_make,
            "from huggingface_hub import snapshot_download",
            "",
            f"folder = snapshot_download({fetch})",
            *pipeline.loaded(f'f"{{folder}}/{place.folder}"'),
            *pipeline.made(place),
        )
