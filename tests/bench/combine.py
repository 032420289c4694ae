"""The merge itself, PEFT's `add_weighted_adapter` against `engine: factored`, both in one run.

    python tests/bench/combine.py [--quick] [--family sdxl] [--rank 32] [--loras 2] [--runs 3] [types …]

Random LoRAs of float32 on all transformer layers of the UNet. PEFT's side is its own code on a PeftModel that holds the
LoRAs, on one thread unless --threads says otherwise: two gain it next to nothing, and on a busy machine they make its
decompositions many times slower. For the types that add factors it is the whole call. Types that decompose deltas
would take it hours: there it is the time of its own step on one module of each shape, times the number of modules of
that shape. The factored engine merges all modules, for `*_svd` as many of each shape as there are workers, in parallel,
scaled up likewise. `svd_full_matrices` is false for PEFT, its faster choice; its default takes several times as long on
layers that are not square. Ratios are PEFT's time over ours within a run.

Peak memory is that of a process that merges a file into a file module by module, above what it has after its imports.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import TypeAdapter

from loramerge.adapter import LowRank
from loramerge.engines import factored, peft
from loramerge.families import architecture
from loramerge.merging import Part
from loramerge.methods import Merge

PARAMETERS = {
    "cat": {},
    "linear": {},
    "ties": {"density": 0.5},
    "dare_linear": {"density": 0.5},
    "dare_ties": {"density": 0.5},
    "magnitude_prune": {"density": 0.5},
    "svd": {},
    "ties_svd": {"density": 0.5},
    "dare_linear_svd": {"density": 0.5},
    "dare_ties_svd": {"density": 0.5},
    "magnitude_prune_svd": {"density": 0.5},
}
WANTED = {"svd": 200.0, **dict.fromkeys((name for name in PARAMETERS if name.endswith("_svd")), 6.0)}
WANTED_ELSE = 8.0
MOST_MEMORY = 600  # MB
WEIGHTS = (0.7, 0.8, -0.3, 0.5, 1.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("types", nargs="*", metavar="TYPE", help="all by default")
    parser.add_argument("--family", choices=("sd15", "sd2", "sdxl"), default="sdxl")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--loras", type=int, default=2, choices=range(2, 6))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of PEFT's side")
    parser.add_argument("--quick", action="store_true", help="one run, SD 1.5, no memory: less than two minutes")
    parser.add_argument("--measure-memory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.measure_memory:
        memory_of(arguments.measure_memory, arguments)
        return
    if arguments.quick:
        arguments.family, arguments.runs = "sd15", 1
    torch.set_num_threads(arguments.threads)
    component, shapes = target(arguments.family)
    parts = random_parts(shapes, arguments.rank, arguments.loras)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "peft", "diffusers"))
    print(f"{arguments.family}: {len(shapes)} modules, {arguments.loras} LoRAs of rank {arguments.rank}, float32")
    print(f"{libraries}, Python {platform.python_version()}, {processor()}, {os.cpu_count()} cores")
    print(f"{'type':22}{'PEFT':>10}{'factored':>10}{'ratio':>8}  spread")
    missed = []
    for name in arguments.types or PARAMETERS:
        method = TypeAdapter(Merge).validate_python({"combination_type": name, **PARAMETERS[name]})
        pairs = [(pefts(component, parts, method), ours(component, parts, method)) for _ in range(arguments.runs)]
        ratios = [theirs / mine for theirs, mine in pairs]
        theirs, mine = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(ratios)
        print(
            f"{name:22}{theirs:9.2f}s{mine:9.2f}s{ratio:8.1f}  {min(ratios):.1f} to {max(ratios):.1f}",
            flush=True,
        )
        if ratio < WANTED.get(name, WANTED_ELSE):
            missed.append(f"{name}: {ratio:.1f}, wanted {WANTED.get(name, WANTED_ELSE):.0f}")
    if not arguments.quick:
        missed += memory(arguments)
    if missed:
        sys.exit("below what is wanted: " + "; ".join(missed))


def target(family: str):
    component = architecture(family).components["unet"]
    return component, {name: shape for name, shape in component.modules.items() if ".attentions." in name}


def random_parts(shapes, rank, count):
    generator = torch.Generator().manual_seed(0)
    return [
        Part(
            f"lora{number}",
            {
                module: LowRank(
                    torch.randn(rank, *shape[1:], generator=generator),
                    torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator),
                    1.0,
                )
                for module, shape in shapes.items()
            },
            dict.fromkeys(shapes, WEIGHTS[number]),
        )
        for number in range(count)
    ]


def pefts(component, parts, method) -> float:
    """Seconds of PEFT's own merge."""
    if not method.decomposes:
        model = peft._peft_model(component, parts, method, "cpu", lambda: None)
        names = [peft._adapter_name(position) for position in range(len(parts))]
        weights = [next(iter(part.weights.values())) for part in parts]
        begin = time.perf_counter()
        model.base_model.add_weighted_adapter(names, weights, "merged", **method.peft_arguments())
        return time.perf_counter() - begin
    counts = Counter(pair.shape for pair in parts[0].modules.values())
    return sum(_step(component, parts, method, shape) * count for shape, count in counts.items())


def _step(component, parts, method, shape) -> float:
    name = next(module for module, pair in parts[0].modules.items() if pair.shape == shape)
    few = [Part(part.name, {name: part.modules[name]}, {name: part.weights[name]}) for part in parts]
    model = peft._peft_model(component, few, method, "cpu", lambda: None).base_model
    layer = model.model.get_submodule(component.live[name])
    arguments = method.peft_arguments()
    rank = few[0].modules[name].rank
    begin = time.perf_counter()
    model._svd_generalized_task_arithmetic_weighted_adapter(
        method.combination_type,
        [peft._adapter_name(position) for position in range(len(few))],
        [part.weights[name] for part in few],
        rank,
        layer,
        layer.lora_A[peft._adapter_name(0)].weight,
        layer.lora_B[peft._adapter_name(0)].weight,
        arguments.get("density"),
        arguments.get("majority_sign_method", "total"),
        None,
        full_matrices=False,
    )
    return time.perf_counter() - begin


def ours(component, parts, method) -> float:
    """Seconds of the factored engine."""
    if not method.combination_type.endswith("_svd"):
        return _merge(component, parts, method)
    seconds, cores = 0.0, os.cpu_count() or 1
    for shape, count in Counter(pair.shape for pair in parts[0].modules.values()).items():
        names = [module for module, pair in parts[0].modules.items() if pair.shape == shape][:cores]
        few = [
            Part(part.name, {name: part.modules[name] for name in names}, {name: part.weights[name] for name in names})
            for part in parts
        ]
        seconds += _merge(component, few, method) * count / len(names)
    return seconds


def _merge(component, parts, method) -> float:
    begin = time.perf_counter()
    factored.merge_component(component, parts, method, seed=0, device="cpu")
    return time.perf_counter() - begin


def memory(arguments):
    """Print the peak of each type; yields what is above what is wanted."""
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder, "loras.safetensors")
        _, shapes = target(arguments.family)
        parts = random_parts(shapes, arguments.rank, arguments.loras)
        save_file(
            {
                f"{number}/{module}/{half}": getattr(pair, half)
                for number, part in enumerate(parts)
                for module, pair in part.modules.items()
                for half in ("down", "up")
            },
            path,
        )
        for name in ("cat", "ties", "svd", "ties_svd"):
            if arguments.types and name not in arguments.types:
                continue
            command = [sys.executable, __file__, name, "--measure-memory", str(path)]
            command += ["--family", arguments.family, "--loras", str(arguments.loras)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"peak memory of {name}: {found['above']:.0f} MB above an idle torch ({found['result']:.0f} MB result)"
            )
            if found["above"] > MOST_MEMORY:
                yield f"memory of {name}: {found['above']:.0f} MB, wanted {MOST_MEMORY}"


def memory_of(path: Path, arguments) -> None:
    """Merge a file into a file and print how much more memory that took than torch alone."""
    idle = peak_memory()
    component, shapes = target(arguments.family)
    (name,) = arguments.types
    method = TypeAdapter(Merge).validate_python({"combination_type": name, **PARAMETERS[name]})
    parts = [
        Part(f"lora{number}", Lazy(path, number, tuple(shapes)), dict.fromkeys(shapes, WEIGHTS[number]))
        for number in range(arguments.loras)
    ]
    size = 0
    with path.with_suffix(".merged").open("wb") as file:
        for _, found in factored.merged_modules(component, parts, method, seed=0, device="cpu"):
            for half in (found.pair.down, found.pair.up):
                size += file.write(half.contiguous().numpy().data)
    print(json.dumps({"above": peak_memory() - idle, "result": size / 2**20}))


def peak_memory() -> float:
    """MB; getrusage would begin with what the parent had."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


@dataclass(frozen=True)
class Lazy(Mapping):
    """A LoRA whose pairs are read when they are asked for."""

    path: Path
    number: int
    names: tuple[str, ...]

    def __getitem__(self, name):
        from safetensors import safe_open

        with safe_open(self.path, framework="pt") as file:
            return LowRank(*(file.get_tensor(f"{self.number}/{name}/{half}") for half in ("down", "up")), 1.0)

    def __contains__(self, name):
        return name in self.names

    def __iter__(self):
        return iter(self.names)

    def __len__(self):
        return len(self.names)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
