"""How strongly a LoRA counts: one number, or a mapping by component and block, a UNet's as diffusers has it."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer

from loramerge.documents.problems import KeyPath
from loramerge.fields import Listed, Scale, StrictModel, in_words, json_type
from loramerge.merging import ranges
from loramerge.merging.layer_weights import mixed

_Number = Annotated[Scale, Tag("number")]
BlockName = Annotated[
    str, Field(pattern=r"^block_(?:0|[1-9][0-9]?)$", json_schema_extra=in_words("block_0, block_1, …"))
]
BlockRange = Annotated[str, Field(pattern=ranges.PATTERN, json_schema_extra=in_words(ranges.IN_WORDS))]
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


_Ranges = Annotated[
    dict[BlockRange, Scale],
    Field(min_length=1, json_schema_extra={"additionalProperties": False}),
    Tag("object"),
]
BlocksWeight = Annotated[
    _Number | Annotated[Listed[Scale], Field(min_length=1), Tag("array")] | _Ranges,
    Discriminator(json_type),
    Field(
        title="any name of blocks",
        description="The blocks of a name that the base has, such as `transformer_blocks`: one number, a list with one "
        "for each block, or a mapping of numbers and ranges of blocks, such as `0-9`.",
    ),
]


class LayerWeights(StrictModel):
    """Weights by block, or by kind of layer; what is not named counts 1."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, BlocksWeight] = Field(init=False)

    attention: Scale = Field(1.0, description="Every attention. Not together with blocks.")
    mlp: Scale = Field(1.0, description="Every feed-forward layer. Not together with blocks.")
    modulation: Scale = Field(
        1.0, description="The layers that scale, shift and gate what is normalised. Not together with blocks."
    )
    other: Scale = Field(1.0, description="What lies in no block; beside kinds of layers: what is of no such kind.")

    @model_serializer(mode="wrap")
    def _what_is_named(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without defaults: those of kinds of layers would stand beside blocks, which no recipe may have."""
        return {key: value for key, value in serialize(self).items() if key in self.model_fields_set}


LayerWeight = Annotated[_Number | Annotated[LayerWeights, Tag("object")], Discriminator(json_type)]
_OF_DENOISER = ": one number, or a mapping by block or kind of layer."


class ComponentWeights(StrictModel):
    """Weights by component; what is not named counts 1."""

    unet: UNetWeight = Field(1.0, description="UNet: one number, or a mapping of `down`, `mid`, `up` and `other`.")
    transformer: LayerWeight = Field(1.0, description=f"Denoiser that is no UNet{_OF_DENOISER}")
    transformer_2: LayerWeight = Field(1.0, description="Second denoiser, such as Wan 2.2's for low noise.")
    transformer_ref: LayerWeight = Field(1.0, description="Denoiser that follows a reference.")
    prior: LayerWeight = Field(1.0, description="First of a base's two stages.")
    decoder: LayerWeight = Field(1.0, description="Second of a base's two stages.")
    connectors: LayerWeight = Field(1.0, description="What lies between text encoder and denoiser.")
    text_conditioner: LayerWeight = Field(1.0, description="What turns text into what the denoiser takes.")
    text_encoder: LayerWeight = Field(1.0, description="First text encoder.")
    text_encoder_2: LayerWeight = Field(1.0, description="Second text encoder.")
    text_encoder_3: LayerWeight = Field(1.0, description="Third text encoder.")
    text_encoder_4: LayerWeight = Field(1.0, description="Fourth text encoder.")
    model: LayerWeight = Field(1.0, description="A model of transformers.")


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


def inconsistencies(weight: object) -> Iterator[tuple[KeyPath, str]]:
    """What of a mapping does not fit together.

    Args:
        weight: As a recipe has it; whatever has the wrong shape is passed over.

    Yields:
        The key within the mapping and what is wrong with it.
    """
    for component, given in weight.items() if isinstance(weight, dict) else ():
        if not isinstance(given, dict) or component == "unet":
            continue
        if both := mixed(given):
            yield (component,), both
        for name, value in given.items():
            keys = [key for key in value if ranges.is_range(key)] if isinstance(value, dict) else []
            yield from (((component, name, key), why) for key, why in ranges.problems(keys))
