"""What `tune` found."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from loramerge.fields import StrictModel


class BestTrial(StrictModel):
    """The trial with the highest score."""

    trial: int = Field(description="Which it was; the first is 1.")
    score: float = Field(description="What the objective gave it.")
    values: dict[str, Any] = Field(description="Key as the recipe's search has it → value.")


class TunedRecipe(StrictModel):
    """What a search found."""

    recipe: str = Field(description="The recipe's file as the command line names it.")
    name: str = Field(description="The recipe's name.")
    tuned: str = Field(description="The file of the recipe with the found values.")
    study: str = Field(description="The file with all trials, which Optuna opens.")
    picture: str = Field(description="Of the study.")
    best: BestTrial = Field(description="What was found.")
    parts: dict[str, float] = Field(description="Name of a LoRA → its part in the best score, where there is one.")
    given: float | None = Field(
        description="Score of the recipe's own values; null where one is missing, or out of its range."
    )
    trials: int = Field(description="How many there are.")
    new: int = Field(description="How many of them were not there already.")
    warnings: list[str] = Field(description="What should be known of them.")
    seconds: float = Field(description="How long it took.")
