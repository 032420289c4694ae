"""What an artifact may hold besides the merged LoRA in a format. One file per kind.

`OUTPUTS` lists them; `AnyOutput` is any of them, or of the formats.
"""

from typing import Annotated

from pydantic import Field

from loramerge.formats import Format
from loramerge.formats.output import Output
from loramerge.outputs.inputs import InputsOutput
from loramerge.outputs.pipeline import PipelineOutput

__all__ = ["OUTPUTS", "AnyOutput", "InputsOutput", "PipelineOutput"]

OUTPUTS: tuple[type[Output], ...] = (PipelineOutput, InputsOutput)
AnyOutput = Annotated[Format | PipelineOutput | InputsOutput, Field(discriminator="kind")]
