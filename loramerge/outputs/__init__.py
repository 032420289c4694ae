"""What an artifact may hold. One file per kind, beside one per format in `formats`; `AnyOutput` is any of them."""

from typing import Annotated

from pydantic import Field

from loramerge.formats import Format
from loramerge.outputs.inputs import InputsOutput
from loramerge.outputs.pipeline import PipelineOutput

__all__ = ["AnyOutput", "InputsOutput", "PipelineOutput"]

AnyOutput = Annotated[Format | PipelineOutput | InputsOutput, Field(discriminator="kind")]
