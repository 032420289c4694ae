"""How long commands take beside a Python that only imports what they can't do without: whole processes.

`loramerge validate` beside `import click, yaml, pydantic`; `loramerge run` of the two LoRAs of the quickstart by
`engine: factored` into a diffusers and a kohya file beside `import torch`: with what a base consists of kept from an
earlier run, and with an empty cache, where diffusers and transformers have to say it. Bytecode is kept, as after any
first run of an installed program.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from measure import HERE, Figures, in_turn, ratio
from processes import PROGRAM
from processes import timed as process

if TYPE_CHECKING:
    from plan import Plan

RECIPES = HERE.parents[1] / "recipes"
MODELS = RECIPES / "quickstart"
RECIPE = f"""\
version: 1
name: startup
license: mit
base: {{source: {MODELS / "base"}}}
loras:
  - {{name: ink, source: {MODELS / "ink.safetensors"}}}
  - {{name: glow, source: {MODELS / "glow.safetensors"}}}
merge: {{combination_type: cat, engine: factored}}
outputs:
  - {{kind: adapter, format: diffusers}}
  - {{kind: adapter, format: kohya}}
"""
TIMES_AS_MANY = 5  # runs of `validate`, which is over soon
LIBRARIES, TORCH = "import click, yaml, pydantic", "import torch"
RUN, EMPTY = "loramerge run", "loramerge run, empty cache"


def rows(plan: Plan) -> Iterator[Figures]:
    """A row for `validate`, and one for `run` with and without what was kept."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["XDG_CACHE_HOME"] = str(folder / "cache")
        timed = partial(_timed, environment)
        validate = {
            LIBRARIES: partial(timed, (sys.executable, "-c", LIBRARIES)),
            "loramerge validate": partial(timed, (*PROGRAM, "validate", str(RECIPES / "quickstart.yaml"))),
        }
        yield _row("validate", TIMES_AS_MANY * plan.runs, validate, LIBRARIES, cold=plan.cold)

        recipe = folder / "startup.yaml"
        recipe.write_text(RECIPE, encoding="utf-8")
        command = (*PROGRAM, "run", str(recipe), "--out", str(folder / "out"), "--rebuild", "--device", "cpu")

        def with_an_empty_cache() -> Figures:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            return timed(command)

        def with_what_was_kept() -> Figures:
            if not (folder / "cache").exists():
                timed(command)
            return timed(command)

        run = {
            TORCH: partial(timed, (sys.executable, "-c", TORCH)),
            EMPTY: with_an_empty_cache,  # which keeps what the next one finds
            RUN: with_what_was_kept,
        }
        yield _row("run", plan.runs, run, TORCH, cold=plan.cold)


def _row(what: str, runs: int, sides: Mapping[str, Callable[[], Figures]], beside: str, *, cold: bool) -> Figures:
    if not cold:
        for side in sides.values():
            side()  # writes the bytecode of what it loads
    found = in_turn(1 if cold else runs, sides)
    return {
        "part": "starting",
        "what": what,
        "sides": found,
        "ratios": [ratio(found, side, beside) for side in sorted(sides) if side != beside],
    }


def _timed(environment: Mapping[str, str], command: Sequence[str]) -> Figures:
    figures = process(command, environment)
    return {key: figures[key] for key in ("seconds", "cpu")}  # the same as were kept of earlier runs
