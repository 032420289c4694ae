"""How long many recipes take by one process and by two: `loramerge run --jobs`, whole commands.

    python tests/bench/side_by_side.py [--recipes 64] [--runs 3] [--jobs 2]

A file with a matrix of weights: two LoRAs of rank 16 for the SD 1.5 UNet, `svd` from the factors, a kohya file and a
diffusers file each. Both sides in turn, from an empty folder; prints seconds, processor seconds and the ratio.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from models import layers_of, random_pairs, write_configs  # noqa: E402  they lie in this folder
from processes import PROGRAM, timed  # noqa: E402

from loramerge import Adapter  # noqa: E402
from loramerge.formats import KohyaOutput, Labels  # noqa: E402

RANK = 16


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--model", default="sd15")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        write(folder, options.model, options.recipes)
        ratios = []
        for number in range(options.runs):
            one, several = (measured(folder, jobs) for jobs in (1, options.jobs))
            ratios.append(one["seconds"] / several["seconds"])
            print(
                f"run {number + 1}: {options.recipes} recipes, one process {one['seconds']:.1f} s "
                f"({one['cpu']:.1f} s of processors), {options.jobs} processes {several['seconds']:.1f} s "
                f"({several['cpu']:.1f} s): {ratios[-1]:.2f} ×",
                flush=True,
            )
    print(f"median {statistics.median(ratios):.2f} ×")


def write(folder: Path, model: str, count: int) -> None:
    """The LoRAs and the recipe."""
    base, layers = write_configs(folder / "base", model), layers_of(model)
    for number in range(2):
        adapter = Adapter({"unet": random_pairs(layers, RANK, seed=number)})
        output = KohyaOutput(kind="adapter", format="kohya", dtype="float16")
        output.write_adapter(adapter, base, Labels(f"lora{number}"), folder)
    recipe = {
        "version": 1,
        "name": "many",
        "license": "mit",
        "report": "brief",
        "base": {"source": str(folder / "base")},
        "loras": [
            {"name": f"lora{number}", "source": str(folder / f"lora{number}.safetensors")} for number in range(2)
        ],
        "merge": {"combination_type": "svd", "engine": "factored"},
        "outputs": [{"kind": "adapter", "format": name, "dtype": "float16"} for name in ("kohya", "diffusers")],
        "matrix": {"loras.lora0.weight": [round(0.1 + number / 100, 2) for number in range(count)]},
    }
    (folder / "many.yaml").write_text(json.dumps(recipe))  # JSON is YAML


def measured(folder: Path, jobs: int) -> dict[str, float]:
    """One whole command from an empty folder."""
    shutil.rmtree(folder / "dist", ignore_errors=True)
    command = (*PROGRAM, "run", "many.yaml", "--device", "cpu", "--jobs", str(jobs))
    return timed(command, None, folder)


if __name__ == "__main__":
    main()
