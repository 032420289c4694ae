"""How strongly a LoRA counts: one number, or diffusers' mapping by component and block."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from loramerge.fields import Listed, Scale, StrictModel, in_words, json_type

_Number = Annotated[Scale, Tag("number")]
BlockName = Annotated[
    str, Field(pattern=r"^block_(?:0|[1-9][0-9]?)$", json_schema_extra=in_words("block_0, block_1, …"))
]
BlockWeight = Annotated[
    _Number | Annotated[Listed[Scale], Field(min_length=1), Tag("array")],
    Discriminator(json_type),
    Field(description="For the whole block, or for each of its transformers in turn."),
]
SideWeight = Annotated[
    _Number
    | Annotated[
        dict[BlockName, BlockWeight],
        Field(min_length=1, json_schema_extra={"additionalProperties": False}),
        Tag("object"),
    ],
    Discriminator(json_type),
]


class UNetWeights(StrictModel):
    """Weights by block, as diffusers' `set_adapters` takes them, and of the rest; what is not named counts 1."""

    down: SideWeight = Field(1.0, description="Down blocks: one number, or one for each block by name.")
    mid: Scale = Field(1.0, description="Mid block.")
    up: SideWeight = Field(1.0, description="Up blocks: one number, or one for each block by name.")
    other: Scale = Field(
        1.0,
        description="What of the UNet the others do not reach: conv_in, conv_out, the time embedding, the resnets of "
        "the mid block and of blocks without attention. diffusers knows no such key.",
    )


UNetWeight = Annotated[_Number | Annotated[UNetWeights, Tag("object")], Discriminator(json_type)]


class ComponentWeights(StrictModel):
    """Weights by component, as diffusers' `set_adapters` takes them; what is not named counts 1."""

    unet: UNetWeight = Field(1.0, description="UNet: one number, or a mapping of `down`, `mid`, `up` and `other`.")
    text_encoder: Scale = Field(1.0, description="First text encoder.")
    text_encoder_2: Scale = Field(1.0, description="Second text encoder.")


Weight = Annotated[_Number | Annotated[ComponentWeights, Tag("object")], Discriminator(json_type)]


def single(weight: float | Mapping[str, Any]) -> float | None:
    """The number that counts for all modules; None where weights differ by component and block.

    Args:
        weight: As `plain` returns it.
    """
    return float(weight) if isinstance(weight, int | float) else None


def plain(weight: Weight) -> float | dict[str, Any]:
    """A recipe's weight as plain data: what it names, and nothing that it leaves to the default."""
    return float(weight) if isinstance(weight, int | float) else weight.model_dump(exclude_unset=True)
