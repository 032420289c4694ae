"""What `loramerge tune` finds: concepts counted in pictures that it did not see.

    python tests/bench/tuned.py [--seeds 6] [--steps 10] [--jobs 1] [--page FILE]

`recipes/star-on-paper.yaml` is tuned in a folder of its own, and the processor time of that is taken. Then merges at
equal weights and the one that was found draw prompts and seeds that the search never drew. A row says in how many of
the pictures each concept and all of them are to be seen, then the mean of the least score, as
`recipes/star_on_paper.py` has it, with its 95 % interval, by resampling pictures.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from loramerge import read_recipe
from loramerge.stages.trial import SearchInputs, Trier

ROOT = Path(__file__).parents[2]
NAME = "star-on-paper"
PAGE = ROOT / "docs" / "tune.md"
PROMPTS = (
    "a green star in ink on paper",
    "a big orange star in ink on paper",
    "a purple star on the left in ink on paper",
)
EQUAL = (0.75, 1.0, 1.25, 1.5, 1.75)
sys.path[:0] = [str(ROOT / "recipes"), str(ROOT / "tests")]

import star_on_paper  # noqa: E402 - it lies beside the recipe
from marked import inserted  # noqa: E402 - it lies above this folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table goes, between its marks")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        recipe = Path(folder) / "recipes" / f"{NAME}.yaml"
        shutil.copytree(ROOT / "recipes", recipe.parent, ignore=shutil.ignore_patterns("__pycache__"))
        took = tune(recipe, arguments.jobs)
        rows = compare(recipe, arguments)
        shutil.copy(recipe.with_name(f"{NAME}.study.png"), ROOT / "docs" / "pictures" / "study.png")
        values = read_recipe(recipe.with_name(f"{NAME}-tuned.yaml")).model_dump(exclude_unset=True)["loras"]
    text = "\n".join([*table(rows, arguments.seeds, arguments.steps), "", took, "", f"Found: {said(values)}."])
    page = inserted(arguments.page.read_text(encoding="utf-8"), "tuned", text)
    arguments.page.write_text(page, encoding="utf-8", newline="\n")
    print(text)


def tune(recipe: Path, jobs: int) -> str:
    """Tune it as a user does; what that took, in words."""
    start = time.monotonic()
    command = (sys.executable, "-m", "loramerge", "tune", recipe.name, "--jobs", str(jobs))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=recipe.parent, env=environment, check=True)
    wall, used = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    trials = read_recipe(recipe).search.trials
    seconds = used.ru_utime + used.ru_stime
    return (
        f"The search: {trials} trials in {seconds:.0f} processor seconds, {wall:.0f} s on the clock "
        f"(`OMP_NUM_THREADS=1 loramerge tune {NAME}.yaml --jobs {jobs}`, {os.cpu_count()} cores that others used too)."
    )


def compare(recipe: Path, arguments) -> dict[str, list[dict[str, float]]]:
    """Row → the scores of each picture."""
    settings = [
        f"preview.prompts=[{', '.join(PROMPTS)}]",
        f"preview.seeds={list(range(100, 100 + arguments.seeds))}",
        f"preview.steps={arguments.steps}",
        f"preview.batch_size={arguments.seeds}",
    ]
    seen: list[list[dict[str, float]]] = []

    def score(pictures) -> float:
        seen.append([star_on_paper.shown(picture) for picture in pictures])
        return 0.0

    star_on_paper.score = score  # the recipe names it, and the search is over
    inputs = SearchInputs.of(read_recipe(recipe, overrides=settings))
    trier = Trier(inputs)
    rows = [f"equal weights of {weight:g}" for weight in EQUAL]
    for weight in EQUAL:
        trier(dict.fromkeys(inputs.space.vary, weight))
        print(f"{weight:g}: done", file=sys.stderr, flush=True)
    found = read_recipe(recipe.with_name(f"{NAME}-tuned.yaml")).loras
    trier({f"loras.{lora.name}.weight": lora.weight for lora in found})
    trier.close()
    return dict(zip([*rows, "**found**"], seen, strict=True))


def table(rows: dict[str, list[dict[str, float]]], seeds: int, steps: int) -> list[str]:
    """Markdown."""
    drawn = f"{len(PROMPTS)} prompts and {seeds} seeds that the search never drew, {steps} steps"
    lines = [
        f"Of {len(PROMPTS) * seeds} pictures, {drawn}:",
        "",
        f"| | {' | '.join(star_on_paper.WANTED)} | all | mean of the least score |",
        "|---|---:|---:|---:|---:|---|",
    ]
    random = np.random.default_rng(0)
    for name, scores in rows.items():
        counts = [sum(each[concept] >= 1 for each in scores) for concept in star_on_paper.WANTED]
        every = sum(min(each.values()) >= 1 for each in scores)
        least = np.array([min(each.values()) for each in scores])
        means = least[random.integers(0, len(least), (2000, len(least)))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        lines.append(
            f"| {name} | {' | '.join(map(str, counts))} | {every} | {least.mean():.2f} ({low:.2f} to {high:.2f}) |"
        )
    return lines


def said(loras) -> str:
    """The weights that were found."""
    return ", ".join(f"`{lora['name']}` {lora['weight']}" for lora in loras)


if __name__ == "__main__":
    main()
