"""File formats of LoRAs. One file per format; `FORMATS` lists their outputs, and `Format` is any of them."""

from typing import Annotated

from pydantic import Field

from loramerge.formats.adapter_output import AdapterOutput
from loramerge.formats.diffusers import DiffusersOutput
from loramerge.formats.kohya import KohyaOutput
from loramerge.formats.labels import Labels
from loramerge.formats.peft import PeftOutput

__all__ = ["FORMATS", "AdapterOutput", "DiffusersOutput", "Format", "KohyaOutput", "Labels", "PeftOutput"]

FORMATS: tuple[type[AdapterOutput], ...] = (PeftOutput, DiffusersOutput, KohyaOutput)
Format = Annotated[PeftOutput | DiffusersOutput | KohyaOutput, Field(discriminator="format")]
