"""What an artifact may hold: the merged LoRA, the base with it fused in, the inputs as PEFT reads them."""

from typing import Annotated, Literal

from pydantic import Field

from loramerge.fields import Dtype, Name, Scale, StrictModel, in_words
from loramerge.formats import Format


class PipelineOutput(StrictModel):
    """The base with the merged LoRA fused in."""

    kind: Literal["pipeline"] = Field(description="The base with the merged LoRA fused in.")
    name: Name | None = Field(None, description="Folder in the artifact; `pipeline` if absent.")
    dtype: Dtype | None = Field(None, description="Number format of the weights; that of the base's files if absent.")
    lora_scale: Scale = Field(1.0, description="What the merged LoRA is multiplied by when it is fused in.")
    max_shard_size: str = Field(
        "10GB",
        pattern=r"^[1-9][0-9]{0,5}(?:\.[0-9]{1,3})?(?:KB|MB|GB|TB)$",
        description="Largest weight file; larger ones are split.",
        json_schema_extra=in_words("a size such as 500MB or 5GB"),
    )

    @property
    def folder(self) -> str:
        """Folder in the artifact."""
        return self.name or self.kind


class InputsOutput(StrictModel):
    """Every LoRA of the recipe as a PEFT adapter, one folder each."""

    kind: Literal["inputs"] = Field(description="Every LoRA of the recipe as a PEFT adapter, one folder each.")
    name: Name | None = Field(None, description="Folder in the artifact; `inputs` if absent.")
    dtype: Dtype = "float32"

    @property
    def folder(self) -> str:
        """Folder in the artifact."""
        return self.name or self.kind


Output = Annotated[Format | PipelineOutput | InputsOutput, Field(discriminator="kind")]
