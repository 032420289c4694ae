"""Stage: make an artifact again from its own recipe, and compare the two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from loramerge.artifact.contents import LOCK, RECIPE
from loramerge.artifact.in_toto import STATEMENT
from loramerge.errors import Finding, MismatchError, SourceError, UsageError, VerificationError
from loramerge.files.digest import files_of
from loramerge.files.reading import text_of
from loramerge.formats.lora_files import lora_files
from loramerge.formats.reading import read_lora
from loramerge.lock.model import Lock
from loramerge.lock.model import read as read_lock
from loramerge.provenance import comparison
from loramerge.provenance.provenance import Provenance
from loramerge.recipe import Recipe, parse
from loramerge.sources.path import is_relative
from loramerge.stages.base import base_of
from loramerge.stages.run import run
from loramerge.stages.with_base import with_base
from loramerge.tensor_files.safetensors import opened

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.progress import Progress
    from loramerge.provenance.comparison import Distance

_PROGRAM = "loramerge"


@dataclass(frozen=True)
class Rebuilt:
    """How an artifact compares with itself made again.

    Attributes:
        reasons: Why bytes may differ, in words; empty where they must not.
        identical: Names of the files that are the same to the byte.
        close: Name → distance of those that differ by rounding.
    """

    reasons: tuple[str, ...]
    identical: tuple[str, ...]
    close: Mapping[str, Distance]


def rebuild_and_compare(
    reference: str, provenance: Provenance, files: Mapping[str, Path], *, recipe: Path | None, progress: Progress
) -> Rebuilt:
    """Run an artifact's recipe again, with the inputs that its lock has, and compare file by file.

    Args:
        reference: The artifact, for messages.
        provenance: What it says of itself.
        files: Its files by their names in the provenance.
        recipe: The recipe's file or folder: where relative paths in it start.
        progress: Told of every step.

    Raises:
        VerificationError: A file is not what it was, or the recipe or its lock is missing.
        SourceError: An input can't be had, or is not what it was.
        UsageError: Relative paths start nowhere.
        LoramergeError: It can't be run again.
    """
    lock = _lock(reference, files)
    again = with_base(_recipe(reference, files, recipe), lock, progress=progress)
    with TemporaryDirectory(prefix="loramerge-") as temporary:
        device = "cpu" if provenance.environment.get("device") == "cpu" else "auto"
        place = Path(temporary) / again.name
        try:
            run(
                again,
                lock=lock,
                out=place,
                targets=(),
                reference=provenance.reference,
                device=device,
                progress=progress,
            )
        except SourceError as error:
            hint = "give the inputs that the artifact was made of with --recipe, or make them available again"
            raise SourceError(error.message, hint=hint) from None
        new = Provenance.parse(text_of(place / STATEMENT))
        changes = tuple(_changes(provenance, new))
        findings = [*_other_inputs(provenance, new), *_other_names(provenance, new)]
        made = {name: path for name, path in files_of(place).items() if name != STATEMENT}
        identical = tuple(name for name in made if provenance.files.get(name) == new.files[name])
        differing = sorted(made.keys() & files.keys() - set(identical))
        may_differ = [name for name in differing if changes or {name, name.partition("/")[0]} & {*provenance.dependent}]
        same_program = provenance.environment.get(_PROGRAM) == new.environment.get(_PROGRAM)
        distances = _distances(again, files, made, may_differ, same_program=same_program)
        findings += [
            Finding("different", name, f"{name} comes out different, to the byte, when it is made again")
            for name in differing
            if name not in distances
        ]
        findings += [_too_far(name, each) for name, each in distances.items() if not each.within]
    reasons = (*changes, *_always(provenance))
    if findings:
        hint = f"bytes may differ here: {'; '.join(reasons)}" if reasons else ""
        raise VerificationError(reference, findings, hint=hint)
    return Rebuilt(reasons, identical, distances)


def _lock(reference: str, files: Mapping[str, Path]) -> Lock:
    if LOCK not in files:
        raise VerificationError(reference, [Finding("missing", LOCK, f"there is no {LOCK} to make it again with")])
    return read_lock(files[LOCK])


def _recipe(reference: str, files: Mapping[str, Path], place: Path | None) -> Recipe:
    if RECIPE not in files:
        raise VerificationError(reference, [Finding("missing", RECIPE, f"there is no {RECIPE} to make it again from")])
    text = text_of(files[RECIPE])
    folder = Path.cwd() if place is None else place if place.is_dir() else place.parent
    recipe = parse(text, origin=f"{reference}/{RECIPE}", folder=folder.absolute())
    relative = [each for each in recipe.sources if is_relative(each)]
    if relative and place is None:
        raise UsageError(
            f"{reference} was made of {', '.join(relative)}, and paths start where its recipe lay",
            hint="say where that is with --recipe PATH",
        )
    return recipe


def _always(old: Provenance) -> Iterator[str]:
    if old.dependent:
        yield f"those of {', '.join(old.dependent)} depend on the machine and the number of threads"


def _changes(old: Provenance, new: Provenance) -> Iterator[str]:
    for name in sorted(old.environment.keys() | new.environment.keys()):
        before, now = (environment.get(name, "none") for environment in (old.environment, new.environment))
        if before != now:
            yield f"{name} was {before}, is {now}"


def _other_inputs(old: Provenance, new: Provenance) -> Iterator[Finding]:
    for lora, place in sorted(old.inputs.keys() | new.inputs.keys()):
        before, now = old.inputs.get((lora, place)), new.inputs.get((lora, place))
        if before != now:
            whose = f"LoRA {lora}" if lora else "the base"
            seen = f"its sha256 is {now}, was {before}" if before and now else "now" if now else "then, not now"
            yield Finding("input", place, f"{place} of {whose} is another file: {seen}")


def _other_names(old: Provenance, new: Provenance) -> Iterator[Finding]:
    for name in sorted(old.files.keys() ^ new.files.keys()):
        which = "only the artifact has it" if name in old.files else "the artifact lacks it"
        yield Finding("different", name, f"{name}: {which}, made again")


def _distances(
    recipe: Recipe, old: Mapping[str, Path], new: Mapping[str, Path], names: list[str], *, same_program: bool
) -> dict[str, Distance]:
    distances: dict[str, Distance] = {}
    base: Base | None = None
    for output in recipe.outputs:
        inside = [name for name in names if name.startswith(f"{output.folder}/")]
        weights = [name for name in inside if name.endswith(".safetensors")]
        if output.holds_merged_lora and weights:
            base = base or base_of(recipe)
            distances |= dict.fromkeys(weights, _adapters(output.folder, old, new, base, same_program=same_program))
    others = [name for name in names if name not in distances]
    return distances | {name: comparison.files(old[name], new[name], same_program=same_program) for name in others}


def _adapters(
    folder: str, old: Mapping[str, Path], new: Mapping[str, Path], base: Base, *, same_program: bool
) -> Distance:
    read = []
    for files in (old, new):
        inside = {
            name.removeprefix(f"{folder}/"): path for name, path in files.items() if name.startswith(f"{folder}/")
        }
        name, path = next(iter(inside.items()))
        place = path.parents[name.count("/")]
        try:
            read.append(read_lora(folder, place, lora_files(folder, sorted(inside)), base)[1])
        except (SourceError, MismatchError):
            return comparison.UNREADABLE
    file = opened(next(path for name, path in inside.items() if name.endswith(".safetensors")))
    dtype = file.dtype(next(key for key in file.keys if not key.endswith(".alpha")))
    return comparison.adapters(read[0], read[1], dtype, same_program=same_program)


def _too_far(name: str, distance: Distance) -> Finding:
    if distance.tolerance == 0:
        return Finding("different", name, f"{name} comes out different when it is made again: {distance.what}")
    measured = f"{distance.what} {distance.value:.1e}, allowed {distance.tolerance:.0e}"
    return Finding("different", name, f"{name} comes out different when it is made again: {measured}")
