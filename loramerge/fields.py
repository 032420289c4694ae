"""The strict, frozen model that every part of a recipe extends, and the field types that they share.

Where a pattern is given, `patternErrorMessage` says the same in words: editors show it, and so do our own errors.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

Element = TypeVar("Element")


class StrictModel(BaseModel):
    """Unknown keys are errors, values are never coerced, and nothing changes after parsing.

    A model is built when it is first used: `loramerge --help` uses none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


def in_words(expected: str) -> dict[str, Any]:
    """The `json_schema_extra` of a field with a pattern: what the pattern asks for, in words."""
    return {"patternErrorMessage": expected}


def json_type(value: object, number: str = "number") -> str | None:
    """JSON Schema's word for the type of a value, by which the members of a union are told apart.

    Args:
        value: As a file has it, or a model of it.
        number: The word for numbers, whole ones too: a union that admits only those tells them apart as `integer`.

    Returns:
        None for truth values, null and what no file holds: no union has such a member.
    """
    match value:
        case bool():
            return None
        case int() | float():
            return number
        case str():
            return "string"
        case dict() | BaseModel():
            return "object"
        case list() | tuple():
            return "array"
    return None


def _no_truth(version: object) -> object:
    """Python, and so pydantic, takes true for 1."""
    if isinstance(version, bool):
        raise PydanticCustomError("no_number", "a truth value is no number")
    return version


Version = Annotated[Literal[1], BeforeValidator(_no_truth)]

Listed = Annotated[tuple[Element, ...], Field(strict=False)]
"""A tuple that is written as a list. Only the tuple is lax: its elements stay strict."""

Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=96,
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$",
        description="Letters, digits, '.', '_' and '-'; it becomes a folder or file name.",
        json_schema_extra=in_words(
            "a name of at most 96 letters, digits, '.', '_' and '-' that begins and ends with a letter or digit"
        ),
    ),
]
Text = Annotated[str, Field(min_length=1)]
Density = Annotated[float, Field(gt=0, le=1, description="Share of the values that is kept, in (0, 1].")]
Rank = Annotated[int, Field(ge=1, le=65536, description="Rank of a low-rank pair.")]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1, description="Seed of the random generator.")]
Sha256 = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the file, 64 hex digits.",
        json_schema_extra=in_words("the SHA-256 of the file: 64 digits from 0-9 and a-f"),
    ),
]
Scale = Annotated[float, Field(ge=-1e6, le=1e6)]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"], Field(description="Number format of the tensors in the file.")
]
