"""What a plan consists of: a step for the artifact and for each target, with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from loramerge.errors import PublishError
from loramerge.messages import some
from loramerge.recipe.own_paths import private_paths

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe
    from loramerge.targets import Target

Action = Literal["build", "publish", "refuse", "none"]
Why = Literal[
    "new",
    "recipe changed",
    "lock moved",
    "drifted",
    "tag missing",
    "tag taken",
    "not signed",
    "refused",
    "up to date",
    "not needed",
]


@dataclass(frozen=True)
class Reason:
    """Why something is to be done, or not.

    Attributes:
        kind: In a word.
        detail: In more words; may be empty.
    """

    kind: Why
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


@dataclass(frozen=True)
class Step:
    """What is to be done at one place.

    Attributes:
        place: The artifact's folder, or where a target is.
        action: `build` the artifact, `publish` it, `refuse` to, or `none`.
        reasons: At least one.
    """

    place: str
    action: Action
    reasons: tuple[Reason, ...]

    @property
    def pending(self) -> bool:
        """Whether anything is to be done."""
        return self.action != "none"


@dataclass(frozen=True)
class Plan:
    """What a run of a recipe would do.

    Attributes:
        recipe: The recipe.
        lock: What its sources are, or have to be; None where nothing is there to compare them with, and whoever runs
            the recipe reads its base anyway.
        artifact: The step that makes the artifact.
        targets: A step for each target, in the recipe's order.
    """

    recipe: Recipe
    lock: Lock | None
    artifact: Step
    targets: tuple[Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them, in their order."""
        return (self.artifact, *self.targets)

    @property
    def stale(self) -> tuple[Reason, ...]:
        """In what an artifact that is there differs from what is wanted, where no target needs it."""
        first, *others = self.artifact.reasons
        return tuple(others) if first.kind == "not needed" else ()

    @property
    def pending(self) -> bool:
        """Whether anything is to be done."""
        return any(step.pending for step in self.steps)

    @property
    def notes(self) -> tuple[str, ...]:
        """What should be known before anything is published, in words."""
        places = [target.reference for target in self.publishes_to if target.reference]
        paths = private_paths(self.recipe)
        if not places or not paths:
            return ()
        said = f"what goes to {some(places)} names paths of this machine: {some(paths)}"
        return (f"{said}; write them relative to the recipe, or as hf:// or oci://, if nobody should read them",)

    @property
    def publishes_to(self) -> tuple[Target, ...]:
        """The targets that are not as they should be."""
        return tuple(target for target, step in zip(self.recipe.publish, self.targets, strict=False) if step.pending)

    @property
    def refused(self) -> tuple[Step, ...]:
        """The targets that a run would not publish to."""
        return tuple(step for step in self.targets if step.action == "refuse")

    def refuse(self) -> None:
        """Go on only if every step can be done.

        Raises:
            PublishError: A target refuses; nothing was done yet.
        """
        if self.refused:
            raise PublishError("\n".join(f"{step.place}: {step.reasons[-1]}" for step in self.refused))
