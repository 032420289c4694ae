"""Fusing a rank-32 LoRA into the UNets of Stable Diffusion 1.5 and XL: loramerge, diffusers, and copying the file.

    python tests/bench/fuse.py [--quick] [--model sd15|sdxl] [--runs 3] [--rank 32]

The UNet is one float16 file of seeded random weights in the published architecture, the LoRA is on every linear layer
of its transformers. Each side is a process of its own, in turn, from files to files that are synced to disk:

- loramerge reads the configs and the LoRA, and fuses as `run` does for a `pipeline` output, SHA-256 of the new file
  included;
- diffusers loads the UNet and the LoRA, then `fuse_lora`, `unload_lora`, `save_pretrained`;
- the copy reads and writes blocks of the size that loramerge reads, to disk as early as loramerge does;
- the digest is the same copy with SHA-256, which a provenance needs of every file.

On a busy machine compare seconds of processors: loramerge wants two of them, the copy waits for none.

The base is in the page cache before each, as it is in a run, which has just compared its digest. Imports are not
counted; peak memory is the process's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

LEAST_GAIN = 4.0  # times as fast as diffusers
MOST_TIME = 1.15  # times the copy
MOST_MEMORY = 1000  # MB
SIDES = ("diffusers", "loramerge", "copy", "digest")
UNET = "unet/diffusion_pytorch_model.safetensors"
SMALL = {"block_out_channels": (160, 320, 640, 640)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one UNet a quarter of the size of Stable Diffusion 1.5's")
    parser.add_argument("--strict", action="store_true", help="fail where less is reached than is aimed at")
    parser.add_argument("--model", choices=("small", "sd15", "sdxl"), action="append")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--side", choices=("make", *SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side == "make":
        print(make(arguments.folder, arguments.model[0], arguments.rank))
        return
    if arguments.side:
        sides = {"diffusers": diffusers_way, "loramerge": ours, "copy": copied, "digest": digested}
        figures = sides[arguments.side](arguments.folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**figures, "peak_mb": peak}))
        return
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "peft", "diffusers", "safetensors")))
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
    missed = []
    for model in ["small"] if arguments.quick else arguments.model or ["sd15", "sdxl"]:
        missed += compared(model, arguments.rank, arguments.runs)
    print("\n".join(missed))
    if missed and arguments.strict:
        sys.exit(1)


def compared(model: str, rank: int, runs: int) -> list[str]:
    """Prints the figures of one model; returns what was expected and not reached."""
    ratios: dict[str, list[float]] = {"diffusers / loramerge": [], "loramerge / copy": [], "loramerge / digest": []}
    peaks = []
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        modules = int(told_by("make", folder, "--model", model, "--rank", str(rank)))
        size = (folder / "base" / UNET).stat().st_size
        print(f"{model}: {size / 1e9:.2f} GB in float16, {modules} modules, rank {rank}")
        for run in range(runs):
            turn = run % len(SIDES)  # none is always the first
            of = {side: measured(side, folder) for side in (*SIDES[turn:], *SIDES[:turn])}
            for pair, values in ratios.items():
                one, other = pair.split(" / ")
                values.append(of[one]["seconds"] / of[other]["seconds"])
            peaks.append(of["loramerge"]["peak_mb"])
            for side in SIDES:
                seconds, cpu, peak = (of[side][each] for each in ("seconds", "cpu", "peak_mb"))
                print(f"run {run + 1}: {side} {seconds:.2f} s ({cpu:.2f} s of processors), peak {peak:.0f} MB")
    median = {pair: statistics.median(values) for pair, values in ratios.items()}
    for pair, values in ratios.items():
        print(f"{model}: {pair}: median {median[pair]:.2f} ({min(values):.2f} to {max(values):.2f})")
    print(f"{model}: peak memory of loramerge {max(peaks):.0f} MB")
    reached = {
        f"{LEAST_GAIN} times as fast as diffusers": median["diffusers / loramerge"] >= LEAST_GAIN,
        f"{MOST_TIME} times the copy": median["loramerge / copy"] <= MOST_TIME,
        f"{MOST_MEMORY} MB": max(peaks) <= MOST_MEMORY,
    }
    return [f"{model}: not reached: {what}" for what, is_reached in reached.items() if not is_reached]


def measured(side: str, folder: Path) -> dict[str, float]:
    with (folder / "base" / UNET).open("rb") as file:
        block = bytearray(1 << 20)
        while file.readinto(block):
            pass
    figures = dict(json.loads(told_by(side, folder)))
    shutil.rmtree(folder / side, ignore_errors=True)
    return figures


def told_by(side: str, folder: Path, *more: str) -> str:
    """The last line of a process of its own: this one must stay small, a child's peak memory begins with it."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), *more]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]


def make(folder: Path, model: str, rank: int) -> int:
    """Write the base and the LoRA; returns the number of modules that the LoRA touches."""
    import torch
    from safetensors.torch import save_file

    from loramerge.base import from_configs
    from loramerge.families import architecture
    from loramerge.layout import header

    config = dict(architecture("sdxl" if model == "sdxl" else "sd15").components["unet"].config)
    base = from_configs(model, {"unet": config | (SMALL if model == "small" else {})})
    unet = base.components["unet"]
    file = folder / "base" / UNET
    file.parent.mkdir(parents=True)
    kind = "StableDiffusionXLPipeline" if model == "sdxl" else "StableDiffusionPipeline"
    index = {"_class_name": kind, "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / "base" / "model_index.json").write_text(json.dumps(index))
    (file.parent / "config.json").write_text(json.dumps(unet.config))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1 << 24, generator=generator).mul_(0.02).half()
    tensors = sorted((name, shape, torch.Size(shape).numel()) for name, shape in unet.parameters.items())
    with file.open("wb") as stream:
        stream.write(header(((name, "F16", shape, 2 * count) for name, shape, count in tensors), {"format": "pt"}))
        for _, _, count in tensors:
            stream.write(noise.repeat(-(-count // len(noise)))[:count].numpy().data)
        stream.flush()
        os.fsync(stream.fileno())
    shapes = {name: shape for name, shape in unet.modules.items() if ".attentions." in name and len(shape) == 2}
    lora = {}
    for name, (rows, columns) in shapes.items():
        lora[f"unet.{name}.lora_A.weight"] = torch.randn(rank, columns, generator=generator) / columns**0.5
        lora[f"unet.{name}.lora_B.weight"] = torch.randn(rows, rank, generator=generator) / 100
    save_file(lora, folder / "lora.safetensors")
    return len(shapes)


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds that pass inside a `with`, and those of all processors: these say more on a busy machine."""
    figures: dict[str, float] = {}
    seconds, cpu = time.perf_counter(), time.process_time()
    yield figures
    figures |= {"seconds": time.perf_counter() - seconds, "cpu": time.process_time() - cpu}


def ours(folder: Path) -> dict[str, float]:
    import diffusers
    import transformers

    from loramerge import load_adapter, load_base
    from loramerge.atomic import replacing
    from loramerge.pipeline_files import PipelineFiles
    from loramerge.recipe.outputs import PipelineOutput
    from loramerge.stages.fuse import fuse

    _ = diffusers.UNet2DConditionModel, transformers.CLIPTextModel
    with timed() as figures:
        base = load_base(str(folder / "base"))
        adapter = load_adapter(str(folder / "lora.safetensors"), base)
        files = PipelineFiles(folder / "base", ("model_index.json", "unet/config.json", UNET), None)
        with replacing(folder / "loramerge") as place:
            fuse(files, base, adapter, PipelineOutput(kind="pipeline"), place)
    return figures


def diffusers_way(folder: Path) -> dict[str, float]:
    import peft
    import torch
    from diffusers import UNet2DConditionModel

    _ = peft.LoraConfig
    warnings.simplefilter("ignore")
    with timed() as figures:
        unet = UNet2DConditionModel.from_pretrained(folder / "base" / "unet", dtype=torch.float16)
        unet.load_lora_adapter(folder, weight_name="lora.safetensors", prefix="unet")
        unet.fuse_lora()
        unet.unload_lora()
        unet.save_pretrained(folder / "diffusers")
        for path in (folder / "diffusers").iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    return figures


def copied(folder: Path) -> dict[str, float]:
    return _copied(folder / "base" / UNET, folder / "copy", len)


def digested(folder: Path) -> dict[str, float]:
    return _copied(folder / "base" / UNET, folder / "digest", hashlib.sha256().update)


def _copied(source: Path, folder: Path, each: Callable[[memoryview], object]) -> dict[str, float]:
    from loramerge.blocks import BLOCK
    from loramerge.steady import SteadyWriter

    folder.mkdir()
    with timed() as figures:
        block = bytearray(BLOCK)
        with source.open("rb") as reading, (folder / "copy").open("wb") as file:
            writer = SteadyWriter(file)
            while size := reading.readinto(block):
                writer.write(memoryview(block)[:size])
                each(memoryview(block)[:size])
            file.flush()
            os.fsync(file.fileno())
    return figures


if __name__ == "__main__":
    main()
