"""Fusing a LoRA into a UNet, or FLUX.1's transformer: loramerge, diffusers, and copying the file.

The model is one float16 file of random weights, the LoRA is on every linear layer of its transformers. Each side is a
process of its own, from files to files that are on the disk in the end:

- loramerge reads the configs and the LoRA, and fuses as `run` does for a `pipeline` output, SHA-256 of the new file
  included;
- diffusers loads the UNet and the LoRA, then `fuse_lora`, `unload_lora`, `save_pretrained`;
- the copy reads and writes blocks of the size that loramerge reads, and writes to the disk as early as loramerge does;
- the digest is the same copy with SHA-256, which a provenance needs of every file;
- the sums are the LoRA's product, the sum with the weights and its rounding for as many weights, one block after the
  other in memory that stays in the processor's cache, on one thread: no file is read or written.

The base is in the page cache before each, as it is in a run, which has just compared its digest. Imports are not
counted: ours has fused a tiny UNet before. Peak memory is that of the whole process.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Figures, asked, in_turn, limit, peak_memory, ratio, stopwatch, sync, tell
from models import denoiser_of, layers_of, random_pairs, weights_in, write_configs, write_weights
from steps import FUSING, counted

if TYPE_CHECKING:
    from models import Shape
    from plan import Plan


RANK = 32
_LATER = 10_000_000_000  # nanoseconds, after which a file counts as left alone
SIDES = ("diffusers", "loramerge", "copy", "digest", "sums")
PAIRS = (("diffusers", "loramerge"), ("loramerge", "copy"), ("loramerge", "digest"))
FIRST, REAL, LORA = "first", "real", "lora.safetensors"


def rows(plan: Plan) -> Iterator[Figures]:
    """A row for each model."""
    for model in plan.models:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            made = asked("fusing.py", {"step": "make", "folder": folder, "model": model})
            found = in_turn(plan.runs, {side: partial(_measured, side, Path(folder), model) for side in SIDES})
            steps = _measured("steps", Path(folder), model)
        yield {
            "part": "fusing",
            "model": model,
            "rank": RANK,
            **made,
            "sides": found,
            "ratios": [ratio(found, over, under) for over, under in PAIRS],
            "steps": steps["steps"],
        }


def _measured(side: str, folder: Path, model: str) -> Figures:
    with weights_in(folder / REAL, model).open("rb") as file:
        block = bytearray(1 << 20)
        while file.readinto(block):
            pass
    figures = asked("fusing.py", {"step": side, "folder": str(folder), "model": model})
    if (folder / side).exists():  # sums write nothing
        shutil.rmtree(folder / side)
    return figures


def answer(step: str, folder: str, model: str) -> Iterator[Figures]:
    """What one process says: of the inputs it made, or of the side it measured."""
    warnings.simplefilter("ignore")
    steps = {"make": make, "loramerge": ours, "diffusers": theirs, "copy": copied, "digest": digested}
    steps |= {"sums": sums, "steps": where}
    figures = steps[step](Path(folder), model)
    yield {**figures, "peak_mb": peak_memory()}


def make(folder: Path, model: str) -> Figures:
    """Write the base and the LoRA; the same in tiny for a first time."""
    _write_inputs(folder / FIRST, "tiny")
    layers = _write_inputs(folder / REAL, model)
    return {"layers": layers, "file_mb": weights_in(folder / REAL, model).stat().st_size / 2**20}


def _write_inputs(folder: Path, model: str) -> int:
    from loramerge import load_base

    write_configs(folder, model)
    component = load_base(str(folder)).components[denoiser_of(model)]  # all of its tensors, not the layers alone
    write_weights(weights_in(folder, model), component.parameters)
    layers = {name: shape for name, shape in layers_of(model).items() if not shape[2:]}
    return write_lora(folder / LORA, denoiser_of(model), layers)


def write_lora(path: Path, denoiser: str, layers: Mapping[str, Shape]) -> int:
    """A LoRA in diffusers' form, of float32; on how many layers.

    Args:
        path: Where to.
        denoiser: The component that it is for.
        layers: Shape by name.
    """
    from safetensors.torch import save_file

    lora = {}
    for name, pair in random_pairs(layers, RANK, seed=0).items():
        lora[f"{denoiser}.{name}.lora_A.weight"] = pair.down / pair.shape[1] ** 0.5
        lora[f"{denoiser}.{name}.lora_B.weight"] = pair.up / 100
    save_file(lora, path)
    return len(layers)


def ours(folder: Path, model: str) -> Figures:
    """What `run` does for a `pipeline` output."""
    _fuse(folder / FIRST, "tiny", folder / "loramerge")
    _know(folder / REAL, model)
    with stopwatch() as figures:
        _fuse(folder / REAL, model, folder / "loramerge")
    return figures


def where(folder: Path, model: str) -> Figures:
    """Where that spends the processors' time."""
    _fuse(folder / FIRST, "tiny", folder / "steps")
    _know(folder / REAL, model)
    with counted(FUSING) as seconds:
        _fuse(folder / REAL, model, folder / "steps")
    return {"steps": seconds}


def _know(source: Path, model: str) -> None:
    """Take the base's digest, as a run has it from the second one on: one that nobody knows is taken while fusing."""
    from loramerge.files.file_view import FileBytes

    file = FileBytes.at(weights_in(source, model), "the base")
    file.remember(file.digest().sha256, time.time_ns() + _LATER)


def _fuse(source: Path, model: str, target: Path) -> None:
    from loramerge import load_adapter, load_base
    from loramerge.bases.pipeline_files import PipelineFiles
    from loramerge.files.atomic import replacing
    from loramerge.outputs import PipelineOutput
    from loramerge.outputs.fuse import fuse
    from loramerge.outputs.prepared import write_prepared

    base = load_base(str(source))
    adapter = load_adapter(str(source / LORA), base)
    weights = weights_in(source, model).relative_to(source).as_posix()
    files = PipelineFiles(source, ("model_index.json", f"{denoiser_of(model)}/config.json", weights), None)
    with replacing(target) as place:
        write_prepared([fuse(files, base, adapter, PipelineOutput(kind="pipeline"), place)])


def theirs(folder: Path, model: str) -> Figures:
    """diffusers' own way."""
    import diffusers
    import peft
    import torch

    _ = peft.LoraConfig
    denoiser = denoiser_of(model)
    kind = getattr(diffusers, json.loads((folder / REAL / "model_index.json").read_text())[denoiser][1])
    with stopwatch() as figures:
        loaded = kind.from_pretrained(folder / REAL / denoiser, dtype=torch.float16)
        loaded.load_lora_adapter(folder / REAL, weight_name=LORA, prefix=denoiser)
        loaded.fuse_lora()
        loaded.unload_lora()
        loaded.save_pretrained(folder / "diffusers")
        sync(folder / "diffusers")
    return figures


def copied(folder: Path, model: str) -> Figures:
    """The file as it is."""
    return _copied(weights_in(folder / REAL, model), folder / "copy", len)


def digested(folder: Path, model: str) -> Figures:
    """The same, and its SHA-256."""
    return _copied(weights_in(folder / REAL, model), folder / "digest", hashlib.sha256().update)


def sums(folder: Path, _model: str) -> Figures:
    """What is computed, without the files."""
    import torch

    from loramerge import load_adapter, load_base
    from loramerge.tensor_files.stream import BLOCK

    adapter = load_adapter(str(folder / REAL / LORA), load_base(str(folder / REAL)))
    limit(1)
    stored = torch.zeros(BLOCK // 2, dtype=torch.float16)
    summed, delta, made = (torch.empty(len(stored), dtype=dtype) for dtype in (torch.float32,) * 2 + (stored.dtype,))
    with stopwatch() as figures:
        for _, _, pair in adapter:
            up, down = pair.up.flatten(1), pair.down.flatten(1)
            for rows in torch.split(up, len(stored) // down.shape[1]):
                count = len(rows) * down.shape[1]
                summed[:count].copy_(stored[:count])
                torch.mm(rows, down, out=delta[:count].view(len(rows), -1))
                made[:count].copy_(summed[:count].add_(delta[:count]))
    return figures


def _copied(source: Path, folder: Path, each: Callable[[memoryview], object]) -> Figures:
    from loramerge.tensor_files.stream import BLOCK
    from loramerge.tensor_files.write_behind import SteadyWriter

    folder.mkdir()
    with stopwatch() as figures:
        block = bytearray(BLOCK)
        with source.open("rb") as reading, (folder / "copy").open("wb") as file:
            writer = SteadyWriter(file)
            while size := reading.readinto(block):
                writer.write(memoryview(block)[:size])
                writer.let_go()
                each(memoryview(block)[:size])
        sync(folder)
    return figures


if __name__ == "__main__":
    tell(answer)
