"""Stage: what a run would do, and why. Recipe and lock, the last artifact and what is live are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loramerge.artifact import PAPERS, SIGNATURE, check_place
from loramerge.definition import Definition
from loramerge.errors import LoramergeError, PublishError, VerificationError
from loramerge.licences import licence_for, licences_of
from loramerge.pinning import pins
from loramerge.progress import Progress, Silent
from loramerge.stages.lock import lock as lock_sources
from loramerge.stages.publish import published_outputs, takes_papers
from loramerge.stages.resolve import local_sources
from loramerge.stages.verify import verify

if TYPE_CHECKING:
    from loramerge.lock import Lock
    from loramerge.recipe import Recipe
    from loramerge.targets import Target
    from loramerge.targets.target import Held, Live

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
        lock: What its sources are, or have to be.
        artifact: The step that makes the artifact.
        targets: A step for each target, in the recipe's order.
    """

    recipe: Recipe
    lock: Lock
    artifact: Step
    targets: tuple[Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them, in their order."""
        return (self.artifact, *self.targets)

    @property
    def pending(self) -> bool:
        """Whether anything is to be done."""
        return any(step.pending for step in self.steps)

    @property
    def publishes_to(self) -> tuple[Target, ...]:
        """The targets that are not as they should be."""
        return tuple(target for target, step in zip(self.recipe.publish, self.targets, strict=False) if step.pending)

    def refuse(self) -> None:
        """Go on only if every step can be done.

        Raises:
            PublishError: A target refuses; nothing was done yet.
        """
        refused = [step for step in self.targets if step.action == "refuse"]
        if refused:
            raise PublishError("\n".join(f"{step.place}: {step.reasons[-1]}" for step in refused))


def plan(
    recipe: Recipe,
    *,
    lock: Lock | None = None,
    out: Path | str | None = None,
    force: bool = False,
    publishing: bool = True,
    signing: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Find out what a run would do. Nothing is written, no weights of a Hub are fetched, no token may write.

    An artifact that only goes to targets is needed where one of them is not as it should be; one whose folder is
    named, or that has no target, is needed for itself.

    Args:
        recipe: As `read_recipe` returns it.
        lock: What the recipe's sources have to be; by default what they are now.
        out: The artifact's folder; `dist/<name>` below the current folder by default.
        force: As for `run`: nothing is refused.
        publishing: False leaves the targets alone.
        signing: What has no signature is not as it should be.
        progress: Told of every target.

    Raises:
        LoramergeError: A source or a target can't be looked at, the lock does not fit the recipe, nothing says under
            which licence to publish, or the artifact's folder belongs to something else.
    """
    targets = recipe.publish if publishing else ()
    place = Path(out or Path("dist") / recipe.name).resolve()
    progress = progress or Silent()
    progress.start("plan", 2 + len(targets))
    if lock is not None:
        pins(recipe, lock)  # raises where it does not fit
    wanted = Definition.of(recipe, lock or lock_sources(recipe))
    progress.advance()
    steps = []
    for target in targets:
        aim = _Aim(wanted, published_outputs(recipe, target), signed=signing and takes_papers(target))
        steps.append(_target(target.live(recipe.name, recipe.folder), aim, force=force))
        progress.advance()
    licence_for(recipe, licences_of(wanted.lock), publishing=any(step.pending for step in steps))
    if targets and out is None and not any(step.pending for step in steps):
        artifact = Step(str(place), "none", (Reason("not needed", "every target is up to date"),))
    else:
        check_place(place, recipe.name, force=force, inputs=[recipe.folder, *local_sources(recipe)])
        artifact = _artifact(place, wanted, signing=signing)
    progress.advance()
    return Plan(recipe, wanted.lock, artifact, tuple(steps))


def _artifact(place: Path, wanted: Definition, *, signing: bool) -> Step:
    if not place.exists() or not any(place.iterdir()):
        return Step(str(place), "build", (Reason("new"),))
    try:
        reasons = tuple(_changes(Definition.of_artifact(place).data(), wanted))
    except LoramergeError as error:
        reasons = (Reason("drifted", error.message.splitlines()[0]),)
    if not reasons:
        try:
            verify(place)
        except VerificationError as error:
            reasons = tuple(Reason("drifted", finding.message) for finding in error.findings)
    if signing and not (place / SIGNATURE).exists():
        reasons = (*reasons, Reason("not signed"))
    return Step(str(place), "build" if reasons else "none", reasons or (Reason("up to date"),))


@dataclass(frozen=True)
class _Aim:
    """What a target shall hold: outputs of a definition, signed or as it is."""

    definition: Definition
    outputs: tuple[str, ...]
    signed: bool

    def missed_by(self, held: Held) -> Iterator[Reason]:
        """Why a state is not that."""
        changed = [*_changes(held.definition, self.definition)]
        yield from changed
        if not changed and set(held.outputs or ()) != set(self.outputs):
            found = ", ".join(held.outputs or ()) or "unknown"
            yield Reason("drifted", f"holds the outputs {found}, not {', '.join(self.outputs)}")
        yield from (Reason("drifted", each) for each in held.drift)
        if self.signed and SIGNATURE not in held.names:
            yield Reason("not signed")

    def held_by(self, held: Held) -> bool:
        """Whether a state is that, with at least a file of every output."""
        single = len(self.outputs) == 1  # lies at the root, among the artifact's papers
        there = {"" if single else name.partition("/")[0] for name in held.names - {*PAPERS, SIGNATURE}}
        return not [*self.missed_by(held)] and {"" if single else name for name in self.outputs} <= there


def _target(live: Live, aim: _Aim, *, force: bool) -> Step:
    for address, held in live.proposals.items():
        if aim.held_by(held):
            return Step(live.place, "none", (Reason("up to date", f"proposed in {address}"),))
    reasons = tuple(aim.missed_by(live)) if live.published else (Reason("new", live.note),)
    if live.tag is not None and live.tagged is None:
        reasons = (*reasons, Reason("tag missing", live.tag))
    if live.tagged is not None and (missed := [*aim.missed_by(live.tagged)]):
        other = f"{live.tag} names another state ({missed[0]})"
        if not force:
            taken = Reason("tag taken", f"{other}; choose another `tag`, or move it with --force")
            return Step(live.place, "refuse", (*reasons, taken))
        reasons = (*reasons, Reason("tag taken", other))
    if not force and reasons and live.refusal:
        return Step(live.place, "refuse", (*reasons, Reason("refused", live.refusal)))
    return Step(live.place, "publish" if reasons else "none", reasons or (Reason("up to date"),))


def _changes(earlier: Mapping[str, Any] | None, wanted: Definition) -> Iterator[Reason]:
    known = Definition.parse(earlier)
    if known is None:
        yield Reason("recipe changed", "what was published says nothing of its recipe")
        return
    yield from (Reason(each.kind, each.detail) for each in wanted.since(known))
