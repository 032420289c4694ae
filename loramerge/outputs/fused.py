"""What the outputs have in common that are the base with the merged LoRA fused in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from loramerge.bases.precision import FLOAT8
from loramerge.errors import MismatchError
from loramerge.fields import FusedDtype, Scale, Text, in_words
from loramerge.formats.loading import Address, Facts, Snippet, arguments
from loramerge.formats.output import MergeResult, Output
from loramerge.messages import counted, some
from loramerge.outputs.fuse import fuse
from loramerge.outputs.fuse_file import check_places, fuse_file, name_of
from loramerge.outputs.fuse_model import fuse_model
from loramerge.outputs.load_file import loading_file
from loramerge.outputs.prepared import PreparedOutput, write_prepared
from loramerge.outputs.scheduler import Scheduler
from loramerge.tensor_files.header import ITEM_SIZES, STORED_AS
from loramerge.tensor_files.rounding_loss import RoundingLoss

if TYPE_CHECKING:
    from typing_extensions import Self

    from loramerge.bases.base import Base
    from loramerge.tensor_files.fuse_plan import TensorChange


ComponentName = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        json_schema_extra=in_words("the name of a component in model_index.json, such as vae"),
    ),
]


class FusedOutput(Output):
    """The base with the merged LoRA fused in: it needs no LoRA any more."""

    needs_weights: ClassVar[bool] = True
    holds_saved: ClassVar[bool] = True
    holds_dense: ClassVar[bool] = True

    dtype: FusedDtype | None = Field(
        None,
        description="Number format of the weights; that of the base's files if absent. What must not have so few bits "
        "keeps its own: in float8 all but the weights of linear and convolution layers.",
    )
    lora_scale: Scale = Field(1.0, description="What the merged LoRA is multiplied by when it is fused in.")
    max_shard_size: str = Field(
        "10GB",
        pattern=r"^[1-9][0-9]{0,5}(?:\.[0-9]{1,3})?(?:KB|MB|GB|TB)$",
        description="Largest weight file; larger ones are split.",
        json_schema_extra=in_words("a size such as 500MB or 5GB"),
    )

    components: (
        Annotated[
            dict[ComponentName, Text | None], Field(min_length=1, json_schema_extra={"additionalProperties": False})
        ]
        | None
    ) = Field(
        None,
        description="Of a pipeline's folder: components that are not the base's own, by their names there. A source, "
        "hf://owner/name or a path that starts at the recipe, takes the component's place; null leaves out one that "
        "the pipeline does without, such as safety_checker.",
        examples=[{"vae": "hf://madebyollin/sdxl-vae-fp16-fix", "safety_checker": None}],
    )
    scheduler: Scheduler | None = Field(
        None, description="Of a pipeline's folder: the scheduler that it is written with; the base's own if absent."
    )

    @property
    def stored_as(self) -> str | None:
        """The recipe's dtype, as a header spells it."""
        return STORED_AS[self.dtype] if self.dtype else None

    @property
    def number_format(self) -> str | None:
        """The recipe's, where it gives one."""
        return self.dtype

    @property
    def other_components(self) -> Mapping[str, str | None]:
        """The recipe's `components`."""
        return self.components or {}

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

    def top_names_of_model(self, recipe: str, loras: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
        """Every model has its config."""
        del recipe, loras, parts
        return ("config.json",)

    def check(self, base: Base, components: Collection[str]) -> None:
        """A file has room for what it holds alone, and a folder of a pipeline alone has a scheduler."""
        if self.scheduler is not None:
            if base.checkpoint is not None or not base.pipeline or not base.has_scheduler:
                raise MismatchError(
                    f"{base.reference} has no scheduler that could be replaced", hint="leave `scheduler` out"
                )
            self.scheduler.config({})
        if touched := [name for name in components if name in self.other_components]:
            raise MismatchError(
                f"outputs.{self.folder}.components: LoRAs touch {some(touched)}, and what they add belongs to "
                "the base's own",
                hint="leave it out of `components`, or choose a base that has it",
            )
        if base.checkpoint is not None:
            check_places(base, base.checkpoint, [*components])

    def write(self, result: MergeResult, folder: Path) -> dict[str, str]:
        """Write the base's files, changed where the LoRA touches them."""
        return self.write_several([(self, folder)], result)[0]

    @classmethod
    def write_several(cls, outputs: Sequence[tuple[Self, Path]], result: MergeResult) -> list[dict[str, str]]:
        """Write several with one pass over the base's weights, as far as they have its tensors in the same order."""
        losses = [RoundingLoss() for _ in outputs]
        prepared = [
            output._prepared(result, folder, loss)  # noqa: SLF001  its own
            for (output, folder), loss in zip(outputs, losses, strict=True)
        ]
        digests = write_prepared(prepared)
        for (output, _), planned, loss in zip(outputs, prepared, losses, strict=True):
            result.notes.extend(output._said(result, planned, loss))  # noqa: SLF001  its own
        return digests

    def _prepared(self, result: MergeResult, folder: Path, loss: RoundingLoss) -> PreparedOutput:
        checkpoint = result.base.checkpoint
        if result.base.is_lone:
            return fuse_model(result, self, folder, loss)
        if checkpoint is not None:
            return fuse_file(result, checkpoint, self, folder, loss)
        others = result.replaced.get(self.folder, {})
        return fuse(result.base_files, result.base, result.adapter, self, folder, loss, others)

    def _said(self, result: MergeResult, written: PreparedOutput, loss: RoundingLoss) -> Iterator[str]:
        """What is to be said of what was written."""
        for name, other in result.replaced.get(self.folder, {}).items():
            yield f"output {self.folder}: its {name} is that of {other.reference}"
        if dropped := [name for name, source in self.other_components.items() if source is None]:
            yield f"output {self.folder}: it is written without {some(dropped)}"
        if kept := [change for change in written.changes if self._is_kept(change)]:
            size, names = sum(change.size for change in kept), some(change.stored.key for change in kept)
            yield (
                f"output {self.folder}: {counted(len(kept), 'tensor')} ({size:,} bytes) keep the base's number format, "
                f"for {self.dtype} has too few bits for them: {names}"
            )
        if loss.relative is not None:
            yield (
                f"output {self.folder}: rounding to float8 loses {loss.relative:.1%} of what is added to the base: the "
                "steps between such numbers are coarse; write it with dtype: bfloat16 or float32 to keep it"
            )

    def _is_kept(self, change: TensorChange) -> bool:
        wanted, found = self.stored_as, change.dtype
        return (
            wanted is not None and found != wanted and found in ITEM_SIZES and ITEM_SIZES[found] >= ITEM_SIZES[wanted]
        )

    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """Diffusers takes a pipeline from a folder here, or from the root of a repository; programs take a file."""
        if facts.parts:
            yield from loading_file(self.folder, place, facts)
            return
        pipeline = facts.pipeline
        if self.dtype in FLOAT8:  # in which nothing is computed
            pipeline = replace(pipeline, dtype="bfloat16")
        title = f"{pipeline.library}, without any LoRA: `{self.folder}`"
        if pipeline.library == "transformers":
            yield Snippet.python(title, *pipeline.imports, "", *pipeline.loaded(place.arguments()))
            return
        if facts.model_class:
            torch, dtype = (["import torch"], ", dtype=torch.bfloat16") if self.dtype in FLOAT8 else ([], "")
            load = f"{facts.denoisers[0]} = {facts.model_class}.from_pretrained({place.arguments()}{dtype})"
            yield Snippet.python(title, *torch, f"from diffusers import {facts.model_class}", "", load)
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
