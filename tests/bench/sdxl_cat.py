"""Merging two rank-32 LoRAs on all 722 transformer layers of the SDXL UNet by `cat`: loramerge against PEFT itself.

    python tests/bench/sdxl_cat.py [--runs 3] [--rank 32]

Each side is a process of its own, in turn, and reads the same two PEFT folders. PEFT's side makes a PeftModel on the
architecture (its weights allocated but never filled, so that loading a base costs it nothing), loads both LoRAs, calls
`add_weighted_adapter` and saves the result. Ours is a whole `run`: listing, reading, checking, merging, measuring the
fidelity, writing, syncing to disk. Imports are not counted on either side; peak memory is the process's.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

WEIGHTS = (0.7, 0.8)
MOST_TIME = 1.5  # times PEFT, files to files
MOST_MEMORY = 3000  # MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--side", choices=("ours", "peft"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        seconds, call = (ours if arguments.side == "ours" else pefts)(arguments.folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "call": call, "peak_mb": peak}))
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        modules = make(folder, arguments.rank)
        print(f"{modules} modules, rank {arguments.rank} + {arguments.rank}, float32, {WEIGHTS}, cat")
        print(", ".join(f"{name} {version(name)}" for name in ("torch", "peft", "diffusers", "transformers")))
        print(f"Python {platform.python_version()}, {platform.machine()}")
        ratios, calls, peaks = [], [], []
        for run in range(arguments.runs):
            of = {side: measured(side, folder) for side in ("peft", "ours")}
            ratios.append(of["ours"]["seconds"] / of["peft"]["seconds"])
            calls.append(of["ours"]["call"] / of["peft"]["call"])
            peaks.append(of["ours"]["peak_mb"])
            for side, call in (("loramerge", "combine"), ("PEFT", "add_weighted_adapter")):
                figures = of["ours" if side == "loramerge" else "peft"]
                print(
                    f"run {run + 1}: {side} {figures['seconds']:.2f} s from files to files, "
                    f"{call} alone {figures['call']:.2f} s, peak {figures['peak_mb']:.0f} MB"
                )
        for what, values in (("files to files", ratios), ("combine / add_weighted_adapter", calls)):
            spread = f"{min(values):.2f} to {max(values):.2f}"
            print(f"ratio, {what}: median {statistics.median(values):.2f} ({spread})")
        print(f"peak memory of loramerge: {max(peaks):.0f} MB")
        if statistics.median(ratios) > MOST_TIME or max(peaks) > MOST_MEMORY:
            sys.exit(f"expected a ratio of {MOST_TIME} at most, and {MOST_MEMORY} MB")


def measured(side: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def make(folder: Path, rank: int) -> int:
    """Write the base's configs, two LoRAs as PEFT folders, and the recipe; returns the number of modules."""
    import torch

    from loramerge import Adapter, LowRank
    from loramerge.families import architecture
    from loramerge.formats.peft import write_folder

    base = architecture("sdxl")
    unet = base.components["unet"]
    shapes = {name: shape for name, shape in unet.modules.items() if ".attentions." in name}
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        pairs = {
            module: LowRank(
                torch.randn(rank, shape[1], generator=generator), torch.randn(shape[0], rank, generator=generator), 1.0
            )
            for module, shape in shapes.items()
        }
        write_folder(Adapter({"unet": pairs}).components["unet"], "unet", base, "float32", folder / name)
    index = {"_class_name": "StableDiffusionXLPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / "base" / "unet").mkdir(parents=True)
    (folder / "base" / "model_index.json").write_text(json.dumps(index))
    (folder / "base" / "unet" / "config.json").write_text(json.dumps(unet.config))
    loras = "".join(
        f"  - {{name: {name}, source: {name}, weight: {weight}}}\n" for name, weight in zip("ab", WEIGHTS, strict=True)
    )
    (folder / "recipe.yaml").write_text(
        f"version: 1\nname: bench\nbase: {{source: base}}\nloras:\n{loras}"
        "merge: {combination_type: cat}\noutputs: [{kind: adapter, format: peft}]\n"
    )
    return len(shapes)


def ours(folder: Path) -> tuple[float, float]:
    """Seconds of a whole run, and of `combine` alone, which makes the PeftModel and merges."""
    import diffusers
    import peft
    import transformers

    from loramerge import WeightedAdapter, combine, load_adapter, load_base, read_recipe, run

    _ = diffusers.UNet2DConditionModel, transformers.CLIPTextModel, peft.LoraConfig
    start = time.perf_counter()
    recipe = read_recipe(folder / "recipe.yaml")
    run(recipe, out=folder / "ours", force=True, device="cpu")
    whole = time.perf_counter() - start
    base = load_base(str(folder / "base"))
    loras = [
        WeightedAdapter(name, load_adapter(str(folder / name), base), weight)
        for name, weight in zip("ab", WEIGHTS, strict=True)
    ]
    start = time.perf_counter()
    combine(loras, base, recipe.merge, device="cpu")
    return whole, time.perf_counter() - start


def pefts(folder: Path) -> tuple[float, float]:
    """Seconds from files to files, and of `add_weighted_adapter` alone."""
    import torch
    from diffusers import UNet2DConditionModel
    from peft import PeftModel

    warnings.simplefilter("ignore")
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(json.loads((folder / "base" / "unet" / "config.json").read_text()))
    unet.to_empty(device="cpu")
    start = time.perf_counter()
    model = PeftModel.from_pretrained(unet, str(folder / "a"), adapter_name="a")
    model.load_adapter(str(folder / "b"), adapter_name="b")
    merging = time.perf_counter()
    model.add_weighted_adapter(["a", "b"], list(WEIGHTS), "merged", combination_type="cat")
    merged = time.perf_counter()
    model.save_pretrained(folder / "peft", selected_adapters=["merged"])
    return time.perf_counter() - start, merged - merging


if __name__ == "__main__":
    main()
