"""What `run` and `publish` say of each recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from loramerge.cli.output.failures import ErrorData
from loramerge.fields import StrictModel


class FailedThing(StrictModel):
    """What failed; those before it are told as they are."""

    recipe: str | None = Field(description="The recipe's file as the command line names it; null for what has none.")
    name: str | None = Field(description="The recipe's name, where it is known.")
    status: Literal["failed"] = Field(description="What became of it.")
    error: ErrorData = Field(description="Why.")


class NotStarted(StrictModel):
    """What was left alone because another recipe failed."""

    recipe: str = Field(description="The recipe's file as the command line names it.")
    name: str | None = Field(description="The recipe's name.")
    status: Literal["not started"] = Field(description="What became of it.")


class PublishedAt(StrictModel):
    """What publishing to a target did."""

    place: str = Field(description="Where the files are now.")
    changed: bool = Field(description="Whether anything had to be written.")
    url: str | None = Field(description="Where to look at them, or at the pull request that proposes them.")
    commit: str | None = Field(description="The commit that has them, 40 hex digits, for a target that has commits.")


class OutputFiles(StrictModel):
    """An output of an artifact."""

    files: int = Field(description="How many.")
    size: int = Field(description="Of all of them, in bytes.")


class BuiltArtifact(StrictModel):
    """An artifact that was built."""

    recipe: str = Field(description="The recipe's file as the command line names it.")
    name: str = Field(description="The recipe's name.")
    status: Literal["built"] = Field(description="What became of it.")
    artifact: str | None = Field(description="Its folder; null where it is not kept.")
    report: str | None = Field(description="Its report.json.")
    page: str | None = Field(description="Its report.html.")
    preview: str | None = Field(description="Its contact sheet.")
    signature: str | None = Field(description="Its model.sig.")
    outputs: dict[str, OutputFiles] = Field(description="Folder → what is in it.")
    fidelity: dict[str, float | None] = Field(
        description="Component → ‖merged - Σ wᵢΔᵢ‖ / ‖Σ wᵢΔᵢ‖; null where there is nothing to compare with."
    )
    warnings: list[str] = Field(description="What should be known before it is used.")
    hashed_before: list[str] = Field(
        description="Inputs that were not read for their digests: an earlier run had, and they did not change since."
    )
    published: list[PublishedAt] = Field(description="One for each target.")
    seconds: float = Field(description="How long it took.")


class PublishedArtifact(StrictModel):
    """An artifact that needed no building."""

    recipe: str = Field(description="The recipe's file as the command line names it.")
    name: str = Field(description="The recipe's name.")
    status: Literal["published", "up to date"] = Field(description="What became of it.")
    artifact: str | None = Field(description="Its folder; null where it is not there and nobody needs it.")
    warnings: list[str] = Field(description="What should be known before it is used.")
    published: list[PublishedAt] = Field(description="One for each target that was not as it should be.")


class OrphanedFiles(StrictModel):
    """Files in a target of a recipe that is gone."""

    place: str = Field(description="Where the target is.")
    files: list[str] = Field(description="Those that nobody changed.")
    changed: list[str] = Field(description="Those that somebody did; they stay.")


class PrunedFiles(StrictModel):
    """What was removed with --prune."""

    recipe: None = Field(description="It is gone.")
    name: str = Field(description="Its name.")
    status: Literal["pruned"] = Field(description="What became of it.")
    orphaned: OrphanedFiles = Field(description="What was there.")


class StrayLockFile(StrictModel):
    """A lock without its recipe."""

    recipe: None = Field(description="It is not there.")
    lock: str = Field(description="The lock's file.")
    message: str = Field(description="What it is, and what to do.")
    status: Literal["stray"] = Field(description="That it is one.")


RunEntry = Annotated[
    BuiltArtifact | PublishedArtifact | NotStarted | PrunedFiles | StrayLockFile | FailedThing,
    Field(discriminator="status"),
]
PublishEntry = Annotated[PublishedArtifact | NotStarted | FailedThing, Field(discriminator="status")]
