"""How long `loramerge validate` takes beside a Python that only imports click, yaml and pydantic: whole processes.

Both run in turn, so that a busy machine slows both; the ratio is the median of those of neighbours. It should be
below 3. Bytecode is kept, as after any first run of an installed program.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
LIBRARIES = (sys.executable, "-c", "import click, yaml, pydantic")
VALIDATE = (str(Path(sys.executable).with_name("loramerge")), "validate", str(RECIPE))


def seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=31)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = bytecode
        for command in (LIBRARIES, VALIDATE):
            seconds(command, environment)
        pairs = [(seconds(LIBRARIES, environment), seconds(VALIDATE, environment)) for _ in range(runs)]
    libraries, validate = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    print(f"libraries {libraries * 1000:.0f} ms, validate {validate * 1000:.0f} ms, ratio {ratio:.2f} ({runs} runs)")


if __name__ == "__main__":
    main()
