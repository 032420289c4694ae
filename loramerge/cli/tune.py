"""`loramerge tune`."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any, Literal

import click

from loramerge.cli import console, options, progress
from loramerge.cli.recipes import read_one
from loramerge.cli.summary import near

if TYPE_CHECKING:
    from loramerge import Recipe, Tuned


@click.command(
    epilog=options.examples(
        "loramerge tune ink-glow.yaml",
        "loramerge tune ink-glow.yaml --trials 100 --jobs 4",
        "loramerge tune ink-glow.yaml --set search.objective=previews --set preview.steps=10 --restart",
    )
)
@click.argument("path", metavar="RECIPE", type=click.Path())
@click.option("--trials", metavar="N", type=click.IntRange(min=1), help="How many merges; search.trials if absent.")
@click.option("--seed", metavar="N", type=click.IntRange(min=0), help="Seed of what is tried; search.seed if absent.")
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1, max=256),
    default=1,
    show_default=True,
    help="Processes that try side by side; each holds the base and the LoRAs.",
)
@options.on("they try")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=options.PlaceType("a file"),
    help="The recipe with the found values, beside RECIPE; <RECIPE>-tuned.yaml if absent.",
)
@click.option("--restart", is_flag=True, help="Forget what was tried before.")
@options.overrides
@options.device
@options.as_json
@options.verbose
def command(  # noqa: PLR0913, PLR0917  each is an option
    path: str,
    trials: int | None,
    seed: int | None,
    jobs: int,
    on: Literal["ray"] | None,
    output: str | None,
    restart: bool,
    overrides: tuple[str, ...],
    device: str,
    as_json: bool,
    verbose: bool,
) -> None:
    """Find weights and parameters of a merge.

    RECIPE is a file whose `search:` says what may vary and what to judge by. Merges are tried until there are as many
    as it wants; the first has the recipe's own values. What was tried stays in <RECIPE>.study.log, so that the same
    command goes on after it was stopped, and <RECIPE>.study.png shows it. A recipe with the best values is written
    beside RECIPE, to be run like any other. A function of your own that judges is code, which this command runs.
    """
    from loramerge import tune

    del verbose
    given = [f"search.{key}={value}" for key, value in (("trials", trials), ("seed", seed)) if value is not None]
    named = read_one(path, (*overrides, *given), locks=True)
    recipe, begin = named.readable(), time.monotonic()
    with progress.shown(recipe.name, as_json=as_json) as watcher:
        done = tune(
            recipe, lock=named.lock, out=output, jobs=jobs, on=on, restart=restart, device=device, progress=watcher
        )
    if as_json:
        console.document(_document_of(path, recipe, done, time.monotonic() - begin))
    else:
        _say_found(recipe, done, time.monotonic() - begin)


def _document_of(path: str, recipe: Recipe, done: Tuned, seconds: float) -> dict[str, Any]:
    judged, given = done.best.judged, done.given
    assert judged is not None  # noqa: S101  the best has a score
    return {
        "recipe": path,
        "name": recipe.name,
        "tuned": str(done.recipe),
        "study": str(done.study),
        "picture": str(done.picture),
        "best": {"trial": done.best.number + 1, "score": judged.score, "values": dict(done.best.values)},
        "parts": dict(judged.parts),
        "given": given.judged.score if given is not None and given.judged is not None else None,
        "trials": done.trials,
        "new": done.new,
        "warnings": list(done.warnings),
        "seconds": round(seconds, 1),
    }


def _say_found(recipe: Recipe, done: Tuned, seconds: float) -> None:
    judged, given = done.best.judged, done.given
    assert judged is not None  # noqa: S101  the best has a score
    for warning in done.warnings:
        console.warning(f"{recipe.name}: {warning}")
    before = f" ({given.judged.score:.4g} as the recipe was)" if given is not None and given.judged is not None else ""
    parts = ", ".join(f"{name} {part:.4g}" for name, part in judged.parts.items())
    earlier = done.trials - done.new
    there = f" ({earlier} of them there already)" if earlier else ""
    rows = [("score", f"{judged.score:.4g} in trial {done.best.number + 1}{before}")]
    rows += [("of it", parts)] if parts else []
    rows += [(name, str(value)) for name, value in done.best.values.items()]
    rows += [
        ("trials", f"{done.trials}{there}"),
        ("recipe", near(done.recipe)),
        ("study", f"{near(done.study)}, {near(done.picture)}"),
        ("time", f"{seconds:.1f} s"),
    ]
    console.result(f"{recipe.name}\n{console.table(rows)}")
    console.note(f"next: loramerge run {shlex.quote(near(done.recipe))}")
