"""The whole command on families of real sizes: `loramerge merge` of two LoRAs in original names, by `cat`, in float16.

Beside it stand a Python that imports torch, reads the same files and writes as many bytes as come out, which no merge
can do without; and the way of kohya's networks/flux_merge_lora.py: load both files, put the factors one beside the
other, save. The LoRAs are random, of float16 and rank 16, on every layer. Whole processes, memory too.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Figures, in_turn, ratio, sync
from processes import PROGRAM, timed

if TYPE_CHECKING:
    from plan import Plan

FAMILIES = ("flux", "qwen_image", "wan")
SMALLEST = ("pixart",)  # of those with original names that hold several layers
RANK = 16
WEIGHTS = (0.7, 0.5)
OURS, FLOOR, PLAIN = "loramerge merge", "read and write", "concatenate, as kohya's script"


def rows(plan: Plan) -> Iterator[Figures]:
    """A row for each family."""
    for family in FAMILIES if "tiny" not in plan.models else SMALLEST:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            rank = min(RANK, plan.ranks[0])
            inputs = [_write(folder / f"{letter}.safetensors", family, rank, seed) for seed, letter in enumerate("ab")]
            sync(folder)
            out = folder / "merged.safetensors"
            given = [f"{path}:{weight}" for path, weight in zip(inputs, WEIGHTS, strict=True)]
            options = ("--base", family, "--fp16", "--force", "-o", str(out))
            commands = {
                OURS: (*PROGRAM, "merge", *given, *options),
                FLOOR: (sys.executable, __file__, "floor", str(folder / "floor"), *map(str, inputs)),
                PLAIN: (sys.executable, __file__, "plain", str(folder / "plain.safetensors"), *map(str, inputs)),
            }
            if not plan.cold:
                timed(commands[OURS])  # what is kept of the base is there from now on
            sides = in_turn(plan.runs, {side: partial(timed, command) for side, command in commands.items()})
            yield {
                "part": "whole",
                "model": family,
                "rank": rank,
                "loras": len(inputs),
                "layers": _layers(family),
                "in_mb": sum(path.stat().st_size for path in inputs) / 1e6,
                "out_mb": out.stat().st_size / 1e6,
                "sides": sides,
                "ratios": [ratio(sides, OURS, FLOOR), ratio(sides, OURS, PLAIN)],
            }


def _layers(family: str) -> int:
    from loramerge.bases.published import architecture

    base = architecture(family)
    return len(base.components[base.main].modules)


def _write(path: Path, family: str, rank: int, seed: int) -> Path:
    """A LoRA in the family's original names."""
    import torch
    from safetensors.torch import save_file

    from loramerge.bases.published import architecture

    generator = torch.Generator().manual_seed(seed)
    base = architecture(family)
    tensors = {}
    for original in base.components[base.main].layout.originals.values():
        out, *rest = original.shape
        stem = f"diffusion_model.{original.name}"
        tensors[f"{stem}.lora_A.weight"] = torch.randn(rank, *rest, generator=generator).mul_(0.02).half()
        tensors[f"{stem}.lora_B.weight"] = torch.randn(out, rank, *[1] * (len(rest) - 1), generator=generator).half()
    save_file(tensors, path)
    return path


def _floor(place: Path, inputs: Sequence[Path]) -> None:
    import torch

    _ = torch.float32
    with place.open("wb") as out:
        for path in inputs:
            out.write(path.read_bytes())


def _plain(place: Path, inputs: Sequence[Path]) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    loaded = [load_file(path) for path in inputs]
    merged = {}
    for key in loaded[0]:
        down = key.endswith("lora_A.weight")
        weights = [1.0 if down else weight for weight in WEIGHTS]
        parts = [file[key].float() * weight for file, weight in zip(loaded, weights, strict=True)]
        merged[key] = torch.cat(parts, dim=0 if down else 1).half()
    save_file(merged, place)


if __name__ == "__main__":
    what, place, *files = sys.argv[1:]
    {"floor": _floor, "plain": _plain}[what](Path(place), [Path(each) for each in files])
