"""What all combination types have in common, and the parameters that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from pydantic import Field, GetCoreSchemaHandler

from loramerge.fields import Listed, StrictModel
from loramerge.numerics.task_arithmetic import weighted_sum

if TYPE_CHECKING:
    from pydantic_core import CoreSchema
    from torch import Tensor
    from typing_extensions import Self

    from loramerge.methods.part import PartRule
    from loramerge.methods.spectral import SpectralParameters
    from loramerge.methods.svd_parameters import RankParameters
    from loramerge.numerics.spaces import SpaceName

Keep = Callable[[int, "Tensor", "float | Tensor"], "Tensor"]
"""(position of the LoRA, tensor, density of all or of each value) → which of its values are kept."""


class _AnyPartRule:
    """Any combination type with what of the model it is for: a union that is known when all types are."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from loramerge.methods import METHODS
        from loramerge.methods.part import any_of

        return handler.generate_schema(any_of(METHODS))


if TYPE_CHECKING:
    PartRules = tuple[PartRule, ...]
else:
    PartRules = Listed[_AnyPartRule]


class Method(StrictModel):
    """How several adapters become one: a combination type, with the parameters that it uses.

    Attributes:
        factor_wise: Without a `space`, `up` and `down` are combined apart from each other. Ranks must be equal, and
            the result is not the weighted sum of the deltas.
        concatenates: The factors are put side by side: the result is the weighted sum of the deltas, exactly.
        takes_one: A single LoRA means something to it: that LoRA times its weight, cut to a rank by the types that do.
        random: The result depends on `seed`.
        decomposes: The result is cut to a rank by a singular value decomposition.
        selects: Values are kept or dropped by how they compare with the others of their tensor.
        sums_deltas: What is decomposed is the weighted sum of the deltas itself, which stacked factors give as well.
        sign_elected: Values whose sign loses an election are dropped (Yadav et al., TIES, arXiv:2306.01708).
        in_peft: PEFT's `add_weighted_adapter` knows the type.
        summary: What a new recipe says of the type, in a comment.
        sums_values: Of parameters beside the layers, which have no singular vectors, it takes the weighted sum.
        most_loras: How many it can merge; None where there is no limit.
        suggested: The parameters that a new recipe has: those that the type needs, and what is better said than left
            to its default.
    """

    combination_type: str = Field(description="How the LoRAs become one.")
    engine: Literal["peft", "factored"] = Field(
        "peft",
        description="What computes the merge: PEFT's add_weighted_adapter, or the same from the factors alone, faster.",
    )
    parts: PartRules | None = Field(
        None,
        min_length=1,
        description="Other combination types for parts of the model, each with `match`, which says where; or `take`, "
        "with the LoRAs that count there.",
    )

    factor_wise: ClassVar[bool] = False
    concatenates: ClassVar[bool] = False
    takes_one: ClassVar[bool] = False
    random: ClassVar[bool] = False
    decomposes: ClassVar[bool] = False
    selects: ClassVar[bool] = False
    sums_deltas: ClassVar[bool] = False
    sign_elected: ClassVar[bool] = False
    in_peft: ClassVar[bool] = True
    sums_values: ClassVar[bool] = False
    most_loras: ClassVar[int | None] = None
    summary: ClassVar[str] = ""
    suggested: ClassVar[Mapping[str, float | str]] = MappingProxyType({})

    @classmethod
    def name(cls) -> str:
        """The `combination_type` that means it in a recipe."""
        (name,) = get_args(cls.model_fields["combination_type"].annotation)
        return str(name)

    @property
    def chosen_space(self) -> SpaceName | None:
        """Where values are combined, if neither those of factors nor those of deltas are."""
        return None

    @property
    def unknown_to_peft(self) -> str:
        """What of it `add_weighted_adapter` does not have, as it stands in a recipe; empty where it has all."""
        if not self.in_peft:
            return f"combination_type: {self.combination_type}"
        return f"space: {self.chosen_space}" if self.chosen_space else ""

    @property
    def combines_factors(self) -> bool:
        """Whether `up` and `down` are combined apart from each other."""
        return self.factor_wise and self.chosen_space is None

    @property
    def rules(self) -> tuple[Method, ...]:
        """What merges the parts of the model: this one, for all that no other is for, and the others."""
        return (self, *(self.parts or ()))

    def placed(self, place_of: Callable[[int], str]) -> Self:
        """The same, whose parts know where they stand.

        Args:
            place_of: Says it of each part, in words.
        """
        if self.parts is None:
            return self
        return self.model_copy(
            update={"parts": tuple(rule.at(place_of(index)) for index, rule in enumerate(self.parts))}
        )

    @property
    def taken(self) -> tuple[str, ...] | None:
        """Names of the LoRAs that count; None where all do."""
        return None

    @property
    def uses_svd(self) -> bool:
        """Whether singular vectors have a part in the result: their last digits depend on the machine."""
        return any(rule.decomposes or rule.chosen_space is not None for rule in self.rules)

    @property
    def decomposition(self) -> RankParameters | None:
        """How the combined delta is cut to a rank; None where it is not."""
        return None

    @property
    def spectral(self) -> SpectralParameters | None:
        """What it makes of matrices, where it looks at their singular vectors, norms and angles; else None."""
        return None

    @property
    def masks_from(self) -> int | None:
        """Seed of the masks that are drawn; None where none are."""
        return None

    @property
    def why_far(self) -> str:
        """Why a merge of this type can be far from the weighted sum of the LoRAs."""
        if self.combines_factors:
            return f"`{self.combination_type}` combines up and down factors apart from each other"
        if self.chosen_space == "ctm":
            return "`space: ctm` keeps what all LoRAs have in common, in as many directions as its rank"
        cut = ", and cuts the result to a rank" if self.decomposes else ""
        return f"`{self.combination_type}` drops values by design{cut}"

    def peft_arguments(self, ranks: Sequence[int] = ()) -> dict[str, object]:
        """The keyword arguments of PEFT's `add_weighted_adapter` that say how to combine.

        Args:
            ranks: The largest of each LoRA in the component; where they are unknown, `svd_rank` is as it was given.
        """
        del ranks
        return self.model_dump(exclude={"engine", "seed", "space", "parts", "match"})

    def check_device(self, device: str) -> None:
        """Refuse a parameter that means nothing where the merge is computed.

        Args:
            device: `cpu` or `cuda`.

        Raises:
            MismatchError: It means nothing there.
        """
        del device

    def combine(self, tensors: Iterable[Tensor], weights: Sequence[float], keep: Keep) -> Tensor:
        """What the type makes of one tensor per LoRA: factors for the types that are `factor_wise`, else deltas.

        Args:
            tensors: Of one shape; none is changed. Each is asked for when the one before it has been pruned.
            weights: One for each.
            keep: Draws DARE's masks.
        """
        del keep
        return weighted_sum(list(tensors), weights)
