"""`search:`: what of a recipe `loramerge tune` varies, and what it judges by."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from loramerge.fields import Listed, Seed, StrictModel, Text, in_words, json_type

KEPT, PREVIEWS = "kept", "previews"
"""The objectives that come with loramerge."""

Objective = Annotated[
    str,
    Field(
        pattern=rf"^(?:{KEPT}|{PREVIEWS}|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$",
        json_schema_extra=in_words(f"{KEPT}, {PREVIEWS}, or a function of your own as module:function"),
    ),
]


class ValueRange(StrictModel):
    """From where to where a value may go."""

    low: float = Field(alias="from", description="The lowest value.")
    high: float = Field(alias="to", description="The highest value.")
    step: float | None = Field(None, gt=0, description="Only the lowest value and whole steps above it.")
    log: bool = Field(default=False, description="As many trials from 0.01 to 0.1 as from 0.1 to 1.")


Choice = bool | int | float | str | dict[str, Any]
Varied = Annotated[
    Annotated[ValueRange, Tag("object")] | Annotated[Listed[Choice], Field(min_length=1), Tag("array")],
    Discriminator(json_type),
]


class Search(StrictModel):
    """What `loramerge tune` varies, and what it judges by. Other commands pass over it."""

    objective: Objective = Field(
        KEPT,
        description=f"What is to be as high as can be. {KEPT}: how much of the LoRA that loses most is left in the "
        f"merge, from the factors alone. {PREVIEWS}: the same in the pictures of `preview`, each beside the LoRA's "
        "own. module:function: a function of your own, from a module beside the recipe or an installed one.",
    )
    trials: int = Field(40, ge=1, le=100_000, description="How many merges are tried.")
    seed: Seed = Field(0, description="Seed of what is tried.")
    clip: Text | None = Field(
        None,
        description=f"For `objective: {PREVIEWS}`: compare by this CLIP model instead of by pixels, and count how well "
        "pictures fit their prompts: hf://owner/name, or a folder that starts at the recipe.",
    )
    vary: dict[str, Varied] = Field(
        min_length=1,
        json_schema_extra=in_words("keys and what they may be, such as `loras.ink.weight: {from: 0.2, to: 1.2}`"),
        description="Keys as `--set` takes them: weights of LoRAs, also by block, and parameters of the merge; for "
        "each a range, or a list of values.",
        examples=[{"loras.ink.weight": {"from": 0.2, "to": 1.2}, "merge.combination_type": ["cat", "ties"]}],
    )
