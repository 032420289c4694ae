"""`cat`: the factors side by side. Exact, and its rank is the sum of the ranks."""

from typing import ClassVar, Literal

from pydantic import Field

from loramerge.methods.method import Method


class Cat(Method):
    """Concatenates the factors."""

    combination_type: Literal["cat"] = Field(
        description="The factors side by side: exactly the weighted sum; its rank is the sum of the ranks."
    )

    concatenates: ClassVar[bool] = True
    takes_one: ClassVar[bool] = True
    summary: ClassVar[str] = "exact, whatever the ranks: the result has their sum"
