"""What an artifact may hold besides the merged LoRA in a format. One file per kind.

`OUTPUTS` lists them; `AnyOutput` is any of them, or of the formats.
"""

from typing import Annotated

from pydantic import Field

from loramerge.formats import Format
from loramerge.formats.output import Output
from loramerge.outputs.inputs import InputsOutput
from loramerge.outputs.model import ModelOutput
from loramerge.outputs.pipeline import PipelineOutput

__all__ = ["OUTPUTS", "AnyOutput", "InputsOutput", "ModelOutput", "PipelineOutput"]

OUTPUTS: tuple[type[Output], ...] = (ModelOutput, PipelineOutput, InputsOutput)
AnyOutput = Annotated[Format | ModelOutput | PipelineOutput | InputsOutput, Field(discriminator="kind")]
