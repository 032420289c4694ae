"""The older name of what `kind: model` is for the folder of a diffusers pipeline."""

from collections.abc import Collection
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.errors import MismatchError
from loramerge.fields import Name
from loramerge.outputs.fused import FusedOutput

if TYPE_CHECKING:
    from loramerge.bases.base import Base


class PipelineOutput(FusedOutput):
    """A pipeline with the merged LoRA fused in."""

    default_folder: ClassVar[str] = "pipeline"
    needs_pipeline_folder: ClassVar[bool] = True

    kind: Literal["pipeline"] = Field(
        description="A pipeline with the merged LoRA fused in: the older name of `kind: model`."
    )
    name: Name | None = Field(None, description="Folder in the artifact; `pipeline` if absent.")

    def check(self, base: "Base", components: Collection[str]) -> None:
        """What is no folder is no pipeline."""
        if base.checkpoint is not None:
            raise MismatchError(f"{base.reference} is one file and no pipeline", hint="write `kind: model`")
        super().check(base, components)
