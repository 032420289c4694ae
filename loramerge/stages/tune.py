"""Stage: the best merge of all that a recipe's search may try."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loramerge.cluster.connect import check as check_cluster
from loramerge.errors import LoramergeError, UsageError
from loramerge.files.run_lock import in_turn
from loramerge.messages import counted, some
from loramerge.previews.png import refuse_others
from loramerge.progress import Progress, Silent
from loramerge.search import found, picture
from loramerge.search.journal import begin_anew, check_installed
from loramerge.search.study import Study
from loramerge.stages.trial import SearchInputs
from loramerge.stages.who_tries import who_tries

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe
    from loramerge.search.study import FinishedTrial
    from loramerge.search.workers import Workers
    from loramerge.sources.inputs import InputFiles

STUDY, PICTURE = ".study.log", ".study.png"
"""What the study and its picture are called, behind the recipe's own name."""
_FUNCTION = "function"
"""Under which a study remembers SHA-256 of the file of the user's function."""


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        recipe: The file of the recipe with the found values.
        study: The file of the study.
        picture: Of the study.
        best: The trial with the highest score.
        given: That of the recipe's own values; None where a value is missing or out of its range.
        trials: How many ended, those of earlier calls as well.
        new: How many of them did now.
        warnings: What the user should know, in words.
    """

    recipe: Path
    study: Path
    picture: Path
    best: FinishedTrial
    given: FinishedTrial | None
    trials: int
    new: int
    warnings: tuple[str, ...]


def tune(  # noqa: PLR0913  each is an option of the command
    recipe: Recipe,
    *,
    lock: Lock | None = None,
    out: Path | str | None = None,
    jobs: int = 1,
    on: Literal["ray"] | None = None,
    restart: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Tuned:
    """Try merges until the search has as many as it wants, and write the recipe of the best.

    What was tried stays in a file beside the recipe, and the same call goes on from there.

    Args:
        recipe: As `read_recipe` returns it, from a file.
        lock: What the recipe's sources have to be; by default what they are.
        out: The recipe to write, beside the other; `<stem>-tuned.yaml` by default.
        jobs: How many processes try side by side; each loads the base and the LoRAs once.
        on: Where they are: `ray` for the cluster of RAY_ADDRESS, or one of this machine; here, if None.
        restart: Forget what was tried before.
        device: `auto`, `cpu` or `cuda`.
        progress: Told of every trial, and of the best so far.

    Raises:
        UsageError: The recipe has no search or is no file, or something else lies where the result is to go.
        MismatchError: What lies there is the study of another search, or a type can't take these LoRAs.
        LoramergeError: With the exit code of what went wrong; what was tried stays.
    """
    progress = progress or Silent()
    check_installed()
    if on is not None:
        check_cluster()
    if recipe.path is None:
        raise UsageError(
            "what is tuned is a file: its study and its result lie beside it",
            hint="write the recipe into a file first",
        )
    if recipe.is_one_of_several:
        raise UsageError(
            f"{recipe.origin} has a matrix, and what is tuned is one recipe",
            hint=f"`loramerge validate --print {shlex.quote(recipe.address)}` writes it as one",
        )
    path = recipe.path
    place = found.place_of(path, None if out is None else Path(out))
    study_file, picture_file = (path.with_name(f"{path.stem}{ending}") for ending in (STUDY, PICTURE))
    refuse_others([picture_file], "move them away")
    with in_turn(study_file, progress):
        inputs = SearchInputs.of(recipe, lock, device if on is None else "cpu", progress)
        if restart:
            begin_anew(study_file, keep=found.WRITTEN)
        study = Study(study_file, _identity(inputs), inputs.space, inputs.search.seed)
        found.check_place(place, study.noted(found.WRITTEN))
        changed = _judge_changed(inputs, study)
        before = len(study.finished)
        with (
            _telling(study, study_file, inputs.search.trials),
            who_tries(inputs, lock, jobs, on, device, progress) as workers,
        ):
            notes = _try_all(study, workers, inputs.search.trials, progress)
        ended, best = study.finished, study.best
        if best is None or best.judged is None:
            why = some(dict.fromkeys(each.why for each in ended), 1)
            raise LoramergeError(f"nothing that was tried can be merged: {why}", hint="let other values vary")
        own = inputs.space.own_values()
        given = next((each for each in ended if own is not None and each.values == own), None)
        data = inputs.space.applied(best.values)
        how = _how_found(path.name, inputs, best, given, len(ended))
        content, said = found.content_for(place, recipe, data, how)
        found.write(place, content, study)
        picture.draw(picture_file, recipe.name, inputs.search.objective, ended, list(inputs.space.vary))
    warnings = (*inputs.loaded.notes, *changed, *notes, *_unmerged(ended), *said)
    return Tuned(place, study_file, picture_file, best, given, len(ended), len(ended) - before, warnings)


def _try_all(study: Study, workers: Workers, wanted: int, progress: Progress) -> tuple[str, ...]:
    """Try until there are as many trials as are wanted; what is to be said of them."""
    notes: dict[str, None] = {}
    while workers.busy or study.begun < wanted:
        while workers.free and study.begun < wanted:
            _tell_trial(study, wanted, progress)
            workers.give(*study.ask())
        outcome = workers.take()
        notes |= dict.fromkeys(outcome.notes)
        if outcome.judged is None:
            study.tell_failure(outcome.number, outcome.why)
        else:
            study.tell(outcome.number, outcome.judged)
    return tuple(notes)


def _tell_trial(study: Study, wanted: int, progress: Progress) -> None:
    """A line for each trial, with the best so far."""
    best, begun = study.best, study.begun
    known = "" if best is None or best.judged is None else f", best so far {best.judged.score:.4g}"
    progress.start(f"trial {begun + 1} of {wanted}{known}", wanted)
    progress.advance(begun)


@contextmanager
def _telling(study: Study, file: Path, wanted: int) -> Iterator[None]:
    """Say what is there when a search is stopped."""

    def there() -> str:
        return f"{len(study.finished)} of {counted(wanted, 'trial')} are in {file}: the same command goes on"

    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted: {there()}") from None
    except LoramergeError as error:
        error.hint = "; ".join(filter(None, (error.hint, there())))
        raise


def _identity(inputs: SearchInputs) -> dict[str, Any]:
    """What scores depend on besides the values that vary, as plain data."""
    recipe, search, loaded = inputs.recipe, inputs.search, inputs.loaded
    data = recipe.data
    fused = recipe.fused
    files = {each.name: _digests_of(each.inputs) for each in loaded.loras}
    return json.loads(  # type: ignore[no-any-return]  # as it is when it is read
        json.dumps(
            {
                "base": [data.get("base"), _digests_of(loaded.base_inputs)],
                "loras": [data["loras"], files],
                "merge": data["merge"],
                "preview": data.get("preview") if inputs.preview else None,
                "lora_scale": fused.fused_at if fused and inputs.preview else None,
                **{f"search.{key}": value for key, value in search.model_dump(mode="json").items() if key != "trials"},
            }
        )
    )


def _digests_of(inputs: InputFiles) -> dict[str, str]:
    return {each.name: each.sha256 for each in inputs.files()}


def _judge_changed(inputs: SearchInputs, study: Study) -> list[str]:
    """Say that the user's function is no longer what judged earlier trials."""
    if inputs.function is None or not (digest := inputs.function.digest):
        return []
    before = study.noted(_FUNCTION)
    study.note(_FUNCTION, digest)
    if before in ("", digest) or not study.finished:
        return []
    said = f"the file of {inputs.function.spelling} changed since earlier trials, which were judged by what it was"
    return [f"{said}; --restart judges all anew"]


def _how_found(recipe: str, inputs: SearchInputs, best: FinishedTrial, given: FinishedTrial | None, trials: int) -> str:
    assert best.judged is not None  # noqa: S101  whoever calls it has looked
    before = "" if given is None or given.judged is None else f"; {given.judged.score:.4g} as it was"
    objective, seed = inputs.search.objective, inputs.search.seed
    return (
        f"found by `loramerge tune {recipe}`: {objective} {best.judged.score:.4g} in trial {best.number + 1} of "
        f"{trials}, seed {seed}{before}"
    )


def _unmerged(trials: Sequence[FinishedTrial]) -> list[str]:
    """What could not be merged."""
    failed = [each.why for each in trials if each.judged is None]
    if not failed:
        return []
    return [f"{len(failed)} of {counted(len(trials), 'trial')} can't be merged: {some(dict.fromkeys(failed), 2)}"]
