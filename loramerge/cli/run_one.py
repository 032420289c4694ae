"""One recipe of `loramerge run`: what its plan says is done, and told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from loramerge.cli import console, progress
from loramerge.cli.boundary import failure
from loramerge.cli.planning import PlannedRecipe, planned
from loramerge.errors import ExitCode, PublishError

if TYPE_CHECKING:
    from loramerge import Plan
    from loramerge.cli.boundary import Failure
    from loramerge.progress import Progress
    from loramerge.provenance.signing.verify import Trust
    from loramerge.targets.target import Receipt

Facts = dict[str, Any]
"""What became of a recipe, as `--json` has it; `error` where it failed."""


@dataclass(frozen=True)
class RunSettings:
    """The options of the command."""

    out: str | None
    device: str
    rebuild: bool
    force: bool
    no_publish: bool
    no_keep: bool
    reference: bool
    keep_going: bool
    prune: bool
    sign: str | None
    verify_inputs: bool
    as_json: bool
    verbose: bool

    @property
    def remakes(self) -> bool:
        """Whether what is there is made again: what another way made is not up to date."""
        return self.rebuild or self.reference

    def planning(self) -> dict[str, Any]:
        """What `loramerge.plan` has to know of them."""
        publishing, signing = not self.no_publish, _trusted(self.sign)
        given = {"out": self.out, "force": self.force, "verify_inputs": self.verify_inputs}
        return {**given, "publishing": publishing, "signing": signing}


def run_one(each: PlannedRecipe, settings: RunSettings, planning: Mapping[str, Any] | None = None) -> Facts:
    """Do what a recipe's plan says, and tell what came of it, whatever happens.

    Args:
        each: The recipe and its plan; one that waited for another is planned now.
        settings: The command's options.
        planning: What planning has to know of them; the same as they say, if None.
    """
    now = each
    if each.waits_for:  # what it is made of is there now
        known = settings.planning() if planning is None else planning
        now = planned(each.given, known, quiet=settings.as_json, verbose=settings.verbose)
    failed = now.failure
    try:
        if now.plan is not None and failed is None:
            return _run(each.given.path, now.plan, settings)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  whatever it is, what was done is told
        failed = failure(error, verbose=settings.verbose)
    assert failed is not None  # noqa: S101  there is a plan, or why there is none
    return failed_with(each, failed, settings)


def failed_with(each: PlannedRecipe, failed: Failure, settings: RunSettings) -> Facts:
    """Tell why a recipe failed."""
    if not settings.as_json:
        console.error(failed.message, failed.hint)
    return {"recipe": each.given.path, "name": each.given.name, "status": "failed", "error": failed.data}


def not_started(each: PlannedRecipe) -> Facts:
    """What is told of a recipe that had no turn."""
    return {"recipe": each.given.path, "name": each.given.name, "status": "not started"}


def was_interrupted(facts: Facts) -> bool:
    """Whether the user ended it."""
    return bool(facts.get("error", {}).get("exit_code") == ExitCode.INTERRUPTED)


def _trusted(sign: str | None) -> bool | Trust:
    """Whose signatures are good enough, so that nothing has to be signed again."""
    if sign is None:
        return False
    from loramerge.provenance.signing.sign import signer

    return signer(sign).trust() or True


def _run(path: str, found: Plan, settings: RunSettings) -> dict[str, Any]:
    with progress.shown(found.recipe.name, as_json=settings.as_json) as watcher:
        facts, text = _do(path, found, settings, watcher)
    facts |= {"warnings": [*found.notes, *facts.get("warnings", ())]}
    if not settings.as_json:
        for warning in facts["warnings"]:
            console.warning(f"{found.recipe.name}: {warning}")
        console.result(text)
    return facts


def _do(path: str, planned: Plan, settings: RunSettings, watcher: Progress) -> tuple[dict[str, Any], str]:
    """What the plan says, and nothing else."""
    if not settings.no_keep:
        place = Path(planned.artifact.place)
        return _do_at(place, path, planned, settings, watcher)
    with TemporaryDirectory(prefix="loramerge-") as folder:
        return _do_at(Path(folder).resolve() / planned.recipe.name, path, planned, settings, watcher)


def _do_at(
    place: Path, path: str, planned: Plan, settings: RunSettings, watcher: Progress
) -> tuple[dict[str, Any], str]:
    from loramerge import publish, run
    from loramerge.cli import summary
    from loramerge.files.run_lock import in_turn
    from loramerge.stages.keep import keep
    from loramerge.stages.tidy import tidy

    recipe = planned.recipe
    begin = time.monotonic()
    tidy(recipe, place, publishing=not settings.no_publish, progress=watcher)
    rebuild, kept = settings.remakes, not settings.no_keep
    everywhere = () if settings.no_publish else recipe.publish
    try:
        if rebuild or (planned.artifact.pending if kept else planned.publishes_to):
            result = run(
                recipe,
                lock=planned.lock,
                out=place,
                device=settings.device,
                force=settings.force,
                reference=settings.reference,
                targets=everywhere if rebuild else planned.publishes_to,
                sign=settings.sign,
                verify_inputs=settings.verify_inputs,
                progress=watcher,
            )
            keep(recipe, place)
            facts = summary.of(path, recipe, result, seconds=time.monotonic() - begin, kept=kept)
            return facts, summary.text(recipe, result, facts, verbose=settings.verbose)
        keep(recipe, place)
        receipts: tuple[Receipt, ...] = ()
        if planned.publishes_to:
            with in_turn(place, watcher):
                receipts = publish(place, recipe, targets=planned.publishes_to, force=settings.force, progress=watcher)
    except PublishError as error:
        there = f"the artifact itself is complete, in {summary.near(place)}" if kept else "no artifact is kept"
        raise PublishError(f"{error.message}; {there}", hint=error.hint) from error
    return summary.of_published(path, planned, receipts), summary.text_of_published(planned, receipts)
