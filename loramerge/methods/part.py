"""A rule for a part of the model: any combination type, or `take`, with what of the model it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

from pydantic import Discriminator, Field, PrivateAttr, Tag, create_model
from typing_extensions import TypeAliasType

from loramerge.fields import Listed, Name, Text, json_type
from loramerge.methods.method import Method
from loramerge.methods.spectral import OwnEngine

if TYPE_CHECKING:
    from typing_extensions import Self

Match = Annotated[
    Annotated[Text, Tag("string")] | Annotated[Listed[Text], Field(min_length=1), Tag("array")],
    Discriminator(json_type),
]


@dataclass(frozen=True)
class _Place:
    """Where a rule stands; it takes no part in comparing rules."""

    words: str = field(default="", compare=False)


class PartRule(Method):
    """What a combination type has beside its own parameters where it is for a part of the model."""

    match: Match = Field(
        description="What of the model, as weights by block name it: a component, `mid`, `down.block_1`, "
        "`transformer_blocks.0-9`, `text_encoder.layers.0-5`, `attention`; the base's main component where none is "
        "named. One, or a list.",
    )

    parts: ClassVar[None] = None  # type: ignore[misc]  # a part has no parts of its own

    _place: _Place = PrivateAttr(default_factory=_Place)

    @property
    def matches(self) -> tuple[str, ...]:
        """What of the model it is for."""
        return (self.match,) if isinstance(self.match, str) else self.match

    @property
    def place(self) -> str:
        """Where its `match` stands, for messages."""
        return self._place.words

    def at(self, words: str) -> Self:
        """The same, with where its `match` stands."""
        rule = self.model_copy()
        rule._place = _Place(words)  # noqa: SLF001  its own
        return rule


class Take(PartRule):
    """Some of the LoRAs and no other, each at its weight."""

    combination_type: Literal["take"] = Field(
        description="Only in parts: these LoRAs and no others, added up exactly, each at its weight."
    )
    engine: OwnEngine = Field("factored", description="What computes it: PEFT's merge takes all LoRAs.")
    loras: Listed[Name] = Field(min_length=1, description="Names of LoRAs of the recipe.")

    concatenates: ClassVar[bool] = True
    takes_one: ClassVar[bool] = True
    in_peft: ClassVar[bool] = False

    @property
    def taken(self) -> tuple[str, ...] | None:
        """The names."""
        return self.loras


@cache
def any_of(methods: Sequence[type[Method]]) -> Any:
    """The union of the rules that parts of a model can have: of each type its own, and `take`."""
    made = [
        create_model(
            f"{method.__name__}InPart", __base__=(method, PartRule), __module__=__name__, __doc__=method.__doc__
        )
        for method in methods
    ]
    # By its name it stands once in a JSON Schema, and not in each of the types.
    described = Field(discriminator="combination_type", description="A combination type for a part of the model.")
    return TypeAliasType("AnyPartRule", Annotated[Union[(*made, Take)], described])
