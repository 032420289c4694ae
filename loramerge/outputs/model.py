"""The base with the merged LoRA fused in, in the base's own layout."""

from typing import ClassVar, Literal

from pydantic import Field

from loramerge.fields import Name
from loramerge.outputs.fused import FusedOutput


class ModelOutput(FusedOutput):
    """The base with the merged LoRA fused in, in the base's own layout."""

    default_folder: ClassVar[str] = "model"

    kind: Literal["model"] = Field(description="The base with the merged LoRA fused in, in the base's own layout.")
    name: Name | None = Field(None, description="Folder in the artifact; `model` if absent.")
