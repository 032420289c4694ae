"""What the outputs have in common that are the base with the merged LoRA fused in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from loramerge.errors import MismatchError
from loramerge.fields import Dtype, Scale, in_words
from loramerge.formats.loading import Address, Facts, Snippet, arguments
from loramerge.formats.output import MergeResult, Output
from loramerge.outputs.fuse import fuse
from loramerge.outputs.fuse_file import check_places, fuse_file, name_of
from loramerge.outputs.fuse_model import check_model, fuse_model
from loramerge.outputs.load_file import loading_file
from loramerge.outputs.scheduler import Scheduler
from loramerge.tensor_files.rounding_loss import RoundingLoss

if TYPE_CHECKING:
    from loramerge.bases.base import Base


class FusedOutput(Output):
    """The base with the merged LoRA fused in: it needs no LoRA any more."""

    needs_weights: ClassVar[bool] = True
    holds_dense: ClassVar[bool] = True

    dtype: Dtype | None = Field(None, description="Number format of the weights; that of the base's files if absent.")
    lora_scale: Scale = Field(1.0, description="What the merged LoRA is multiplied by when it is fused in.")
    max_shard_size: str = Field(
        "10GB",
        pattern=r"^[1-9][0-9]{0,5}(?:\.[0-9]{1,3})?(?:KB|MB|GB|TB)$",
        description="Largest weight file; larger ones are split.",
        json_schema_extra=in_words("a size such as 500MB or 5GB"),
    )

    scheduler: Scheduler | None = Field(
        None, description="Of a pipeline's folder: the scheduler that it is written with; the base's own if absent."
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

    def top_names_of_file(self, recipe: str, loras: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
        """The file is called after the recipe."""
        del loras, parts
        return (name_of(recipe),)

    def check(self, base: Base, components: Collection[str]) -> None:
        """A file has room for what it holds alone, and a folder of a pipeline alone has a scheduler."""
        if self.scheduler is not None:
            if base.checkpoint is not None or not base.pipeline:
                raise MismatchError(
                    f"{base.reference} has no scheduler that could be replaced", hint="leave `scheduler` out"
                )
            self.scheduler.config({})
        if base.checkpoint is not None:
            check_places(base, base.checkpoint, [*components])
        if base.is_model:
            check_model(base.reference, base.components[base.main])

    def write(self, result: MergeResult, folder: Path) -> dict[str, str]:
        """Write the base's files, changed where the LoRA touches them."""
        checkpoint, loss = result.base.checkpoint, RoundingLoss()
        if result.base.is_model:
            digests = fuse_model(result, self, folder, loss)
        elif checkpoint is None:
            digests = fuse(result.base_files, result.base, result.adapter, self, folder, loss)
        else:
            digests = fuse_file(result, checkpoint, self, folder, loss)
        if loss.relative is not None:
            result.notes.append(
                f"output {self.folder}: rounding to float8 loses {loss.relative:.1%} of what is added to the base: the "
                "steps between such numbers are coarse; write it with dtype: bfloat16 or float32 to keep it"
            )
        return digests

    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """Diffusers takes a pipeline from a folder here, or from the root of a repository; programs take a file."""
        if facts.parts:
            yield from loading_file(self.folder, place, facts)
            return
        pipeline = facts.pipeline
        title = f"{pipeline.library}, without any LoRA: `{self.folder}`"
        if pipeline.library == "transformers":
            yield Snippet.python(title, *pipeline.imports, "", *pipeline.loaded(place.arguments()))
            return
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
