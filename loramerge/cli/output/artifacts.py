"""What `verify` says of each artifact, and `preview` and `grid` of their pictures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from loramerge.cli.output.failures import ErrorData
from loramerge.fields import StrictModel


class FindingData(StrictModel):
    """One thing that keeps an artifact from being what its provenance says."""

    kind: str = Field(description="Such as changed, missing, extra, different or signature.")
    file: str = Field(description="Its name in the artifact; for an input, its place.")
    message: str = Field(description="The same in words.")


class ToleranceData(StrictModel):
    """How far a file is from the one that it was compared with."""

    what: str = Field(description="What was measured.")
    value: float = Field(description="What came out.")
    tolerance: float = Field(description="What is allowed.")


class RebuiltData(StrictModel):
    """How an artifact came out when it was made again."""

    reasons: list[str] = Field(description="Why bytes may differ.")
    identical: list[str] = Field(description="Files that are the same to the byte.")
    within_tolerance: dict[str, ToleranceData] = Field(description="Those that are close enough.")


class VerifiedArtifact(StrictModel):
    """An artifact that is what its provenance says."""

    artifact: str = Field(description="As the command line names it.")
    verified: Literal[True] = Field(description="That it is.")
    recipe: str = Field(description="The recipe's name.")
    files: int = Field(description="How many its provenance names.")
    findings: list[FindingData] = Field(max_length=0, description="Nothing is wrong.")
    left_out: list[str] = Field(description="Outputs that were not published there.")
    words_of_others: bool = Field(description="Whether the model card has words of its owner beside our part.")
    signature: str | None = Field(description="Whether its signature was verified; null where it has none.")
    rebuilt: RebuiltData | None = Field(description="With --rebuild: how it came out.")


class UnverifiedArtifact(StrictModel):
    """An artifact that is not what its provenance says, or that could not be looked at."""

    artifact: str = Field(description="As the command line names it.")
    verified: Literal[False] = Field(description="That it is not.")
    findings: list[FindingData] = Field(description="What is wrong.")
    hint: str | None = Field(description="What to do about it.")
    error: ErrorData | None = Field(None, description="Why it could not be looked at.")


class DrawnPictures(StrictModel):
    """Pictures of a recipe."""

    recipe: str = Field(description="The recipe's file as the command line names it.")
    name: str = Field(description="The recipe's name.")
    folder: str = Field(description="Where the pictures are.")
    sheets: list[str] = Field(description="The contact sheets.")
    pictures: list[str] = Field(description="All pictures.")
    drawn: int = Field(description="How many were not there already.")
    warnings: list[str] = Field(description="What should be known of them.")
    seconds: float = Field(description="How long it took.")
