"""What `plan` says of each recipe, and of what lies about."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from loramerge.cli.output.failures import ErrorData
from loramerge.cli.output.runs import OrphanedFiles
from loramerge.fields import StrictModel


class ReasonData(StrictModel):
    """Why something is to be done, or not."""

    kind: str = Field(description="In a word, such as new, recipe changed, lock moved, drifted or up to date.")
    detail: str = Field(description="In more words; may be empty.")


class StepData(StrictModel):
    """What is to be done at one place."""

    place: str = Field(description="The artifact's folder, or where a target is.")
    action: Literal["build", "publish", "refuse", "none"] = Field(description="What.")
    reasons: list[ReasonData] = Field(description="Why.")


class PlannedEntry(StrictModel):
    """What a run of a recipe would do."""

    recipe: str = Field(description="The recipe's file as the command line names it.")
    name: str | None = Field(description="The recipe's name, where it could be read.")
    pending: bool = Field(description="Whether anything is to be done.")
    artifact: StepData | None = Field(description="The step that makes the artifact; null where it can't be planned.")
    targets: list[StepData] = Field(description="A step for each target.")
    warnings: list[str] = Field(description="What should be known before anything is published.")
    waits_for: str | None = Field(None, description="The recipe of this call that makes one of its sources.")
    error: ErrorData | None = Field(None, description="Why a run would fail.")


class OrphanedEntry(StrictModel):
    """What recipes left in targets that are gone."""

    recipe: None = Field(description="It is gone.")
    name: str | None = Field(description="Its name.")
    pending: Literal[False] = Field(description="Nothing is done about it without --prune.")
    artifact: None = Field(description="Nothing is built.")
    targets: list[StepData] = Field(max_length=0, description="Nothing is published.")
    orphaned: OrphanedFiles | None = Field(None, description="What is there.")
    error: ErrorData | None = Field(None, description="Why that can't be found out.")


class StrayLockEntry(StrictModel):
    """A lock without its recipe: a run would not be held to it."""

    recipe: None = Field(description="It is not there.")
    lock: str = Field(description="The lock's file.")
    message: str = Field(description="What it is, and what to do.")
    pending: Literal[False] = Field(description="A run does nothing about it.")
    artifact: None = Field(description="Nothing is built.")
    targets: list[StepData] = Field(max_length=0, description="Nothing is published.")


PlanEntry = PlannedEntry | OrphanedEntry | StrayLockEntry
