"""What `lock` says of each recipe, and `validate` of each mistake."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from loramerge.cli.output.failures import ErrorData
from loramerge.fields import StrictModel


class LockEntry(StrictModel):
    """What became of a lock."""

    recipe: str = Field(description="The recipe's file as the command line names it.")
    lock: str = Field(description="The lock's file.")
    status: Literal["wrote", "unchanged", "moved", "missing", "failed"] = Field(
        description="What became of it; with --check: what it is."
    )
    changes: list[str] = Field(description="What is different, in words.")
    error: ErrorData | None = Field(None, description="Why it failed.")


class StrayLockFound(StrictModel):
    """A lock without its recipe."""

    recipe: None = Field(description="It is not there.")
    lock: str = Field(description="The lock's file.")
    message: str = Field(description="What it is, and what to do.")
    status: Literal["stray"] = Field(description="That it is one.")
    changes: list[str] = Field(max_length=0, description="There is nothing to compare it with.")


class ProblemEntry(StrictModel):
    """A mistake in a recipe."""

    file: str = Field(description="The recipe.")
    line: int | None = Field(description="From 1.")
    column: int | None = Field(description="From 1.")
    key: str = Field(description="Such as loras.0.weight.")
    message: str = Field(description="What is wrong, and what was expected.")
