"""Stage: what a run would do, and why. Recipe and lock, the last artifact and what is live are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.artifact.contents import PAPERS, RECIPE, SIGNATURE, check_place, check_writable
from loramerge.artifact.in_toto import STATEMENT
from loramerge.errors import LoramergeError, VerificationError
from loramerge.files.digest import sha256_of
from loramerge.files.kept_digests import reading_anew
from loramerge.lock.pin import pins
from loramerge.merging.checks import check_several
from loramerge.messages import some
from loramerge.progress import Progress, Silent
from loramerge.provenance.definition import Definition
from loramerge.provenance.licence import licence_for
from loramerge.stages.plan_sources import FreeSources, HeldSources
from loramerge.stages.plan_steps import Plan, Reason, Step
from loramerge.stages.publish import check_folders
from loramerge.stages.resolve import check_local, local_sources
from loramerge.stages.together import claims_of
from loramerge.stages.verify import compare
from loramerge.targets.folder_contents import MOVE

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.provenance.signing.verify import Trust
    from loramerge.recipe import Recipe
    from loramerge.targets.held import Held, Live


def plan(  # noqa: PLR0913  each is an option of the command
    recipe: Recipe,
    *,
    lock: Lock | None = None,
    out: Path | str | None = None,
    force: bool = False,
    publishing: bool = True,
    building: bool = True,
    signing: bool | Trust = False,
    verify_inputs: bool = False,
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
        building: False leaves the artifact as it is: what may not be replaced is no obstacle.
        signing: What has no signature is not as it should be; nor is an artifact here that another key signed.
        verify_inputs: Hash every file anew, also one that did not change since an earlier run did.
        progress: Told of every target.

    Raises:
        LoramergeError: A source or a target can't be looked at, the lock does not fit the recipe or a file here, there
            is one LoRA and the combination type merges several, nothing says under which licence to publish, or the
            artifact's folder belongs to something else or can't be written.
    """
    with reading_anew(verify_inputs):
        for rule in recipe.merge.rules:
            check_several([lora.name for lora in recipe.loras], rule)
        targets = recipe.publish if publishing else ()
        place = Path(out or Path("dist") / recipe.name).resolve()
        progress = progress or Silent()
        progress.start("plan", 2 + len(targets))
        if targets:
            check_folders(place, recipe)
        if lock is not None:
            pins(recipe, lock)  # raises where it does not fit
        sources = FreeSources.of(recipe) if lock is None else HeldSources(recipe, lock)
        progress.advance()
        lives = []
        for target in targets:
            lives.append(target.live(recipe.name, recipe.folder, target.claims(claims_of(recipe, sources.base_files))))
            progress.advance()
        wanted = sources.definition(compared=_is_there(place) or any(live.holds_anything for live in lives))
        steps = []
        for target, live in zip(targets, lives, strict=True):
            aim = _Aim(wanted, target.chosen(recipe.folders), signed=signing is not False and target.takes_papers)
            steps.append(_target(_without_equals(live, target.files(place, recipe.folders)), aim, force=force))
        licence_for(recipe, sources.licences, publishing=any(step.pending for step in steps))
        signed_here_alone = signing is not False and not any(target.takes_papers for target in targets)
        if targets and out is None and not signed_here_alone and not any(step.pending for step in steps):
            reasons = (Reason("not needed", "every target is up to date"), *_other_recipe(place, wanted))
            artifact = Step(str(place), "none", reasons)
        else:
            artifact = _artifact(place, wanted, signing=signing)
            if building and artifact.pending:
                check_place(place, recipe.name, force=force, inputs=[recipe.folder, *local_sources(recipe)])
        if building and artifact.pending:
            check_writable(place)
            if lock is not None:
                check_local(recipe, lock)
        progress.advance()
        return Plan(recipe, wanted.lock if wanted else None, artifact, tuple(steps))


def _is_there(place: Path) -> bool:
    """Whether there is something to compare with; what is wrong with a place is said where it is checked."""
    try:
        return place.is_dir() and any(place.iterdir())
    except OSError:
        return False


def _other_recipe(place: Path, wanted: Definition | None) -> Iterator[Reason]:
    """In what the recipe of an artifact that nobody needs differs from the one that is wanted.

    It is parsed where its text is another one alone: of a thousand recipes that would take as long as all else.
    """
    with suppress(OSError, LoramergeError):
        if wanted is not None and sha256_of(place / RECIPE) != wanted.digest:
            yield from _changes(Definition.of_artifact(place).data(), wanted)


def _artifact(place: Path, wanted: Definition | None, *, signing: bool | Trust) -> Step:
    if wanted is None or not _is_there(place):
        return Step(str(place), "build", (Reason("new"),))
    try:
        reasons = tuple(_changes(Definition.of_artifact(place).data(), wanted))
    except LoramergeError as error:
        reasons = (Reason("drifted", error.message.splitlines()[0]),)
    if not reasons:
        try:
            files = compare(place).provenance.files
        except VerificationError as error:
            reasons = tuple(Reason("drifted", finding.message) for finding in error.findings)
        else:
            reasons = tuple(_unsigned(place, files, signing))
    return Step(str(place), "build" if reasons else "none", reasons or (Reason("up to date"),))


def _unsigned(place: Path, files: Mapping[str, str], signing: bool | Trust) -> Iterator[Reason]:
    signature = place / SIGNATURE
    if signing and not signature.exists():
        yield Reason("not signed")
    elif not isinstance(signing, bool):
        digests = {**files, STATEMENT: sha256_of(place / STATEMENT)}
        yield from (Reason("not signed", each.message) for each in signing.findings(signature, digests))


@dataclass(frozen=True)
class _Aim:
    """What a target shall hold: outputs of a definition, signed or as it is. Where nothing is held, there is none."""

    definition: Definition | None
    outputs: tuple[str, ...]
    signed: bool

    def missed_by(self, held: Held) -> Iterator[Reason]:
        """Why a state is not that."""
        assert self.definition is not None  # noqa: S101  something is held
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


def _without_equals(live: Live, files: Mapping[str, Path]) -> Live:
    """What a target holds, where files of others that are in the way are what would be put there count as no obstacle.

    Args:
        live: What it holds.
        files: Name in the target → file of the last artifact.
    """
    other = [name for name, sha256 in live.foreign.items() if name not in files or sha256_of(files[name]) != sha256()]
    if not other:
        return live
    refusal = f"it holds {some(sorted(other))}, which this recipe did not put there; {MOVE}"
    return replace(live, refusal=live.refusal or refusal)


def _changes(earlier: Mapping[str, Any] | None, wanted: Definition) -> Iterator[Reason]:
    known = Definition.parse(earlier)
    if known is None:
        yield Reason("recipe changed", "what was published says nothing of its recipe")
        return
    yield from (Reason(each.kind, each.detail) for each in wanted.since(known))
