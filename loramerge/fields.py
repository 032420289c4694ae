"""The strict, frozen model that every part of a recipe extends, and the field types that they share.

Where a pattern is given, `patternErrorMessage` says the same in words: editors show it, and so do our own errors.
"""

import re
import unicodedata
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

Element = TypeVar("Element")


class StrictModel(BaseModel):
    """Unknown keys are errors, values are never coerced, and nothing changes after parsing.

    A model is built when it is first used: `loramerge --help` uses none.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True, serialize_by_alias=True
    )


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

NAME_LENGTH = 96
NAME_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$"
Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=NAME_LENGTH,
        pattern=NAME_PATTERN,
        description="Letters, digits, '.', '_' and '-'; it becomes a folder or file name.",
        json_schema_extra=in_words(
            "a name of at most 96 letters, digits, '.', '_' and '-' that begins and ends with a letter or digit"
        ),
    ),
]


def name_like(text: str, most: int = NAME_LENGTH) -> str:
    """The name that is most like a text: letters lose their accents, and what no name can have becomes a '-'.

    Args:
        text: Anything.
        most: Characters that the name may have.

    Returns:
        A `Name`; empty where the text has nothing that a name can have.
    """
    letters = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", letters).strip("._-")[:most].rstrip("._-")


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
FusedDtype = Literal["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"], Field(description="Number format of the tensors in the file.")
]
