"""What went wrong, as every command says it."""

from __future__ import annotations

from pydantic import Field

from loramerge.fields import StrictModel


class ErrorData(StrictModel):
    """Why something failed."""

    message: str = Field(description="What is wrong, and where; a line for each mistake.")
    hint: str = Field(description="What to do about it; may be empty.")
    exit_code: int = Field(description="What the shell is told of this alone.")


class ErrorDocument(StrictModel):
    """Nothing was done: wrong usage, recipes that can't be read, or what a command of one thing failed of."""

    error: ErrorData = Field(description="Why.")
