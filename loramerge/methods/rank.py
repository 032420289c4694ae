"""To which rank a decomposition is cut: a number, `sum`, `max`, or as much as a share of the energy takes."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from loramerge.fields import Rank, StrictModel, json_type


class EnergyRank(StrictModel):
    """The smallest rank of each module that keeps a share of the delta's squared norm."""

    energy: float = Field(gt=0, le=1, description="Share of the squared norm that is kept, in (0, 1].")
    max: Rank | None = Field(None, description="No module gets more than this; no limit if absent.")


def _member(value: object) -> str | None:
    """The member that is meant; any other text is none of them, and gets a message that names them all."""
    if isinstance(value, str) and value not in ("sum", "max"):
        return None
    return json_type(value, number="integer")


SvdRank = Annotated[
    Annotated[Rank, Tag("integer")]
    | Annotated[Literal["sum", "max"], Tag("string")]
    | Annotated[EnergyRank, Tag("object")],
    Discriminator(_member),
]
