"""The strict, frozen model that every part of a recipe extends, and the field types that they share."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class StrictModel(BaseModel):
    """Unknown keys are errors, values are never coerced, and nothing changes after parsing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=96,
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$",
        description="Letters, digits, '.', '_' and '-'; it becomes a folder or file name.",
    ),
]
Density = Annotated[float, Field(gt=0, le=1, description="Share of the values that is kept, in (0, 1].")]
Rank = Annotated[int, Field(ge=1, le=65536, description="Rank of a low-rank pair.")]
Seed = Annotated[int, Field(ge=0, lt=2**63, description="Seed of the random generator.")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file, 64 hex digits.")]
Scale = Annotated[float, Field(ge=-1e6, le=1e6)]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"], Field(description="Number format of the tensors in the file.")
]
