"""How long commands take beside a Python that only imports what they can't do without: whole processes.

`loramerge validate` against `import click, yaml, pydantic`: the ratio should be below 3. `loramerge run` of the two
LoRAs of the quickstart by `engine: factored` into a diffusers and a kohya file against `import torch`: with what a base
consists of kept from an earlier run, and with an empty cache, where diffusers and transformers have to say it.

Commands run in turn, so that a busy machine slows all of them; a ratio is the median of those of neighbours. Bytecode
is kept, as after any first run of an installed program.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

RECIPES = Path(__file__).parents[2] / "recipes"
MODELS = RECIPES / "quickstart"
PROGRAM = str(Path(sys.executable).with_name("loramerge"))
MERGE = f"""\
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

Taken = tuple[float, float]  # seconds on the clock and of processors


def taken(command: Sequence[str], environment: Mapping[str, str]) -> Taken:
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    clock, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def shown(name: str, of: Sequence[Taken], beside: Sequence[Taken] = ()) -> str:
    clock, processors = (statistics.median(column) for column in zip(*of, strict=True))
    text = f"{name:<28} {clock:6.2f} s, {processors:6.2f} s of processors"
    if not beside:
        return text
    ratios = [
        [ours / theirs for ours, theirs in zip(*columns, strict=True)]
        for columns in zip(zip(*of, strict=True), zip(*beside, strict=True), strict=True)
    ]
    return f"{text}, ratio " + ", ".join(
        f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in ratios
    )


def validating(runs: int, environment: Mapping[str, str]) -> None:
    libraries = (sys.executable, "-c", "import click, yaml, pydantic")
    validate = (PROGRAM, "validate", str(RECIPES / "quickstart.yaml"))
    rounds = [(taken(libraries, environment), taken(validate, environment)) for _ in range(runs + 1)][1:]
    theirs, ours = zip(*rounds, strict=True)
    print(shown("import click, yaml, pydantic", theirs))
    print(shown("loramerge validate", ours, theirs))


def merging(runs: int, environment: Mapping[str, str], folder: Path) -> None:
    recipe = folder / "startup.yaml"
    recipe.write_text(MERGE, encoding="utf-8")
    run = (PROGRAM, "run", str(recipe), "--out", str(folder / "startup"), "--rebuild", "--device", "cpu")
    rounds = []
    for _ in range(runs + 1):
        torch = taken((sys.executable, "-c", "import torch"), environment)
        shutil.rmtree(folder / "cache", ignore_errors=True)
        empty = taken(run, environment)
        rounds.append((torch, empty, taken(run, environment)))
    torches, empties, kept = zip(*rounds[1:], strict=True)
    print(shown("import torch", torches))
    print(shown("loramerge run", kept, torches))
    print(shown("loramerge run, empty cache", empties, torches))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=31, help="of validate")
    parser.add_argument("--merges", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        environment["XDG_CACHE_HOME"] = str(folder / "cache")
        print(f"medians; ratios by the clock, and by processors (smallest to largest); {os.cpu_count()} cores")
        validating(arguments.runs, environment)
        merging(arguments.merges, environment, folder)


if __name__ == "__main__":
    main()
