"""A recipe from beginning to end: the stages in their order, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.analysis.rounding import formats_of
from loramerge.artifact.contents import check_place
from loramerge.files.atomic import replacing
from loramerge.files.kept_digests import reading_anew
from loramerge.files.run_lock import in_turn
from loramerge.provenance.licence import licence_for, licences_of
from loramerge.provenance.signing import sign as signing
from loramerge.reports.report import summary
from loramerge.sources import shown
from loramerge.stages.artifact_previews import check_preview
from loramerge.stages.assess import assess
from loramerge.stages.check_outputs import check_outputs
from loramerge.stages.combine import combine, weighted
from loramerge.stages.load import known, load
from loramerge.stages.lock import cards_of
from loramerge.stages.lock import lock as lock_sources
from loramerge.stages.papers import write_papers
from loramerge.stages.publish import publish
from loramerge.stages.resolve import local_sources, resolve
from loramerge.stages.with_base import with_base
from loramerge.stages.write import write
from loramerge.tensor_files.lazy import LITTLE, MUCH, Spool

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.lock.model import Lock
    from loramerge.progress import Progress
    from loramerge.recipe import Recipe
    from loramerge.sources.inputs import InputFiles
    from loramerge.stages.load import Loaded
    from loramerge.targets import Target
    from loramerge.targets.target import Receipt


@dataclass(frozen=True)
class Result:
    """What a run left behind.

    Attributes:
        artifact: The artifact's folder.
        merged: The merged LoRA.
        fidelity: Relative error by component: ‖merged - Σ wᵢΔᵢ‖ / ‖Σ wᵢΔᵢ‖.
        warnings: What the user should know, in words.
        receipts: One for each target.
        report: report.json.
        hashed_before: Inputs that were not read for their digests: an earlier run had, and they did not change since.
    """

    artifact: Path
    merged: Adapter = field(repr=False)
    fidelity: Mapping[str, float | None]
    warnings: tuple[str, ...]
    receipts: tuple[Receipt, ...]
    report: Mapping[str, Any] = field(repr=False)
    hashed_before: tuple[str, ...] = ()


def run(  # noqa: PLR0913  each is an option of the command
    recipe: Recipe,
    *,
    lock: Lock | None = None,
    out: Path | str | None = None,
    device: str = "auto",
    force: bool = False,
    targets: Sequence[Target] | None = None,
    reference: bool = False,
    sign: Path | str | None = None,
    verify_inputs: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Merge, write and publish what a recipe says, whatever is there already; `plan` says whether it has to be.

    Args:
        recipe: As `read_recipe` returns it.
        lock: What the recipe's sources have to be; by default what they are, which the artifact then says.
        out: The artifact's folder; `dist/<name>` below the current folder by default.
        device: `auto`, `cpu` or `cuda`.
        force: Replace whatever is at `out` and in the targets.
        targets: Those of the recipe's targets that are meant, none if empty; all by default.
        reference: Leave every step of the merge to PEFT itself, for comparison.
        sign: The file of a private key, or `sigstore`; None leaves the artifact unsigned.
        verify_inputs: Hash every input anew, also one that did not change since an earlier run did.
        progress: Told of every step.

    Raises:
        LoramergeError: With the exit code of what went wrong. Unless that was publishing, nothing is written.
    """
    signer = None if sign is None else signing.signer(sign)
    place = Path(out or Path("dist") / recipe.name).resolve()
    kept = [recipe.folder, *local_sources(recipe)]
    check = partial(check_place, place, recipe.name, force=force, inputs=kept)
    check()
    with reading_anew(verify_inputs), in_turn(place, progress):
        check()  # another run may have been there meanwhile
        with replacing(place, lambda old: check(old=old)) as folder:
            recipe = with_base(recipe, lock, progress=progress)
            resolved = resolve(recipe, lock, progress=progress)
            needs_weights = any(output.needs_weights for output in recipe.outputs)
            spool = Spool(place.parent, LITTLE if needs_weights else MUCH)
            loaded = load(resolved, keep=spool.keep, in_passing=needs_weights, progress=progress)
            check_outputs(recipe, loaded)
            check_preview(recipe, loaded)
            licences = licences_of(lock) if lock else resolved.licences
            licence = licence_for(recipe, licences, publishing=targets is None or bool(targets))
            combined = combine(
                weighted(loaded),
                loaded.base,
                recipe.merge,
                device=device,
                reference=reference,
                keep=spool.keep,
                formats=formats_of(recipe),
                progress=progress,
            )
            found = assess(recipe, loaded, combined, licence=licence, full=recipe.report == "full", progress=progress)
            cards = lock.sources.cards if lock else cards_of(resolved)
            written = write(folder, recipe, loaded, combined, found, cards=cards, progress=progress)
            settled = known(resolved, loaded)  # the base was hashed while the outputs were made of it
            made_of = lock or lock_sources(recipe, settled)
            facts = write_papers(folder, recipe, loaded, combined, written, made_of)
            if signer is not None:
                signer.sign(folder, recipe.name)
        receipts = publish(place, recipe, targets=targets, force=force, progress=progress)
    said = (*_left_out(recipe), *_damaged(loaded), *facts["notes"])
    unread = tuple(_hashed_before(loaded))
    return Result(place, combined.adapter, summary(combined.fidelity), said, receipts, facts, unread)


def _named_inputs(loaded: Loaded) -> Iterator[tuple[str, InputFiles]]:
    """What messages call a source, and its files."""
    yield "base", loaded.base_inputs
    if loaded.config_inputs is not None:
        yield "base.config", loaded.config_inputs
    yield from ((f"LoRA {lora.name}", lora.inputs) for lora in loaded.loras)


def _hashed_before(loaded: Loaded) -> Iterator[str]:
    for whose, inputs in _named_inputs(loaded):
        yield from (f"{whose}: {name}" for name in inputs.hashed_before())


def _damaged(loaded: Loaded) -> Iterator[str]:
    for whose, inputs in _named_inputs(loaded):
        for place in inputs.damaged_entries():
            yield f"{whose}: what an earlier run kept of a file's digest is damaged, and the file was read: {place}"


def _left_out(recipe: Recipe) -> Iterator[str]:
    if recipe.given_base is None:
        yield f"the recipe names no base; its LoRAs tell that they are for {recipe.base}"
    for source in recipe.secretive:
        yield f"recipe.yaml has {shown(source)} without its query, which may hold a token"
