"""The older name of what `kind: model` is for the folder of a diffusers pipeline."""

from typing import ClassVar, Literal

from pydantic import Field

from loramerge.fields import Name
from loramerge.outputs.fused import FusedOutput


class PipelineOutput(FusedOutput):
    """A pipeline with the merged LoRA fused in."""

    default_folder: ClassVar[str] = "pipeline"

    kind: Literal["pipeline"] = Field(
        description="A pipeline with the merged LoRA fused in: the older name of `kind: model`."
    )
    name: Name | None = Field(None, description="Folder in the artifact; `pipeline` if absent.")
