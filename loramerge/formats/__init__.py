"""File formats of LoRAs. One file per format; `FORMATS` lists their outputs, and `Format` is any of them."""

from typing import Annotated

from pydantic import Field

from loramerge.formats.adapter_output import AdapterOutput
from loramerge.formats.comfyui import ComfyuiOutput
from loramerge.formats.diffusers import DiffusersOutput
from loramerge.formats.kohya import KohyaOutput
from loramerge.formats.labels import Labels
from loramerge.formats.peft import PeftOutput

__all__ = [
    "FORMATS",
    "AdapterOutput",
    "ComfyuiOutput",
    "DiffusersOutput",
    "Format",
    "KohyaOutput",
    "Labels",
    "PeftOutput",
]

FORMATS: tuple[type[AdapterOutput], ...] = (PeftOutput, DiffusersOutput, KohyaOutput, ComfyuiOutput)
Format = Annotated[PeftOutput | DiffusersOutput | KohyaOutput | ComfyuiOutput, Field(discriminator="format")]
