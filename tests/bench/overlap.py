"""Seconds that comparing LoRAs takes: every pair, every module, from the factors.

    python tests/bench/overlap.py [--family sdxl] [--rank 32] [--loras 2] [--runs 3]

Random LoRAs of float16 on all transformer layers of the UNet.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import torch

from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.overlap import overlaps
from loramerge.bases.published import architecture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=("sd15", "sd2", "sdxl"), default="sdxl")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--loras", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    shapes = architecture(arguments.family).components["unet"].modules
    shapes = {name: shape for name, shape in shapes.items() if ".attentions." in name}
    generator = torch.Generator().manual_seed(0)
    loras = {
        f"lora{number}": (Adapter({"unet": random_modules(shapes, arguments.rank, generator)}), lambda *_: 1.0)
        for number in range(arguments.loras)
    }
    taken = []
    for _ in range(arguments.runs):
        begin, busy = time.perf_counter(), time.process_time()
        overlaps(loras)
        taken.append((time.perf_counter() - begin, time.process_time() - busy))
    clock, processors = (statistics.median(column) for column in zip(*taken, strict=True))
    print(
        f"{arguments.family}, {len(shapes)} modules, {arguments.loras} LoRAs of rank {arguments.rank}: {clock:.1f} s, "
        f"{processors:.1f} s of {os.cpu_count()} processors"
    )


def random_modules(shapes, rank, generator):
    return {
        name: LowRank(
            torch.randn(rank, *shape[1:], generator=generator).half(),
            torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator).half(),
            1.0,
        )
        for name, shape in shapes.items()
    }


if __name__ == "__main__":
    main()
