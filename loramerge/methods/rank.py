"""To which rank a decomposition is cut: a number, `sum`, `max`, or as much as a share of the energy takes."""

from typing import Annotated, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from loramerge.fields import Rank, StrictModel


class EnergyRank(StrictModel):
    """The smallest rank of each module that keeps a share of the delta's squared norm."""

    energy: float = Field(gt=0, le=1, description="Share of the squared norm that is kept, in (0, 1].")
    max: Rank | None = Field(None, description="No module gets more than this; no limit if absent.")


def _json_type(value: object) -> str | None:
    """JSON Schema's word for the member that is meant; any other text gets a message that names them all."""
    match value:
        case bool():
            return None
        case int() | float():
            return "integer"
        case "sum" | "max":
            return "string"
        case dict() | BaseModel():
            return "object"
    return None


SvdRank = Annotated[
    Annotated[Rank, Tag("integer")]
    | Annotated[Literal["sum", "max"], Tag("string")]
    | Annotated[EnergyRank, Tag("object")],
    Discriminator(_json_type),
]
