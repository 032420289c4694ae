"""From files to file: a whole `run` with `engine: factored` against the same by hand with PEFT; peak memory.

Each side is a process of its own, reads the same PEFT folders, and has its file on the disk in the end. Ours is a
whole `run`: listing, reading, hashing, checking, merging, measuring the fidelity, writing a file of diffusers' form,
report.json and provenance; for one type also with `report: full`, which compares the LoRAs and draws report.html.
The floor is what the bytes alone take. One more run of ours, which does not count, tells where its time goes.
PEFT's side makes a PeftModel on the architecture (one zero for all its weights, so that a base costs it nothing),
loads the LoRAs, calls `add_weighted_adapter` and saves a PEFT folder. Imports are not counted: ours has run a tiny
recipe before. Where PEFT decomposes, its merge is sampled as in merging.py, and what it reads and writes is measured.
Peak memory is that of the process above what it had after `import torch`, other imports included.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pefts
from measure import Figures, asked, idle_torch, in_turn, limit, peak_memory, ratio, stopwatch, sync, tell, told_by
from models import PARAMETERS, WEIGHTS, Sample, decomposes, layers_of, random_pairs, write_configs
from steps import RUNNING, counted

from loramerge.files.digest import sha256_of
from loramerge.tensor_files.write_behind import SteadyWriter

if TYPE_CHECKING:
    from plan import Plan

MAIN = (32, 2)  # rank and number of LoRAs with which all types are measured
INPUTS = ("first", "real")  # folders: what is run first, in tiny, and what counts
GROWTH = "cat"  # the type that is measured with others


def rows(plan: Plan) -> Iterator[Figures]:
    """A row for each type with the largest model, and for one type with other models, ranks and numbers of LoRAs."""
    largest = plan.models[-1]
    rank, count = _nearest(plan.ranks, MAIN[0]), _nearest(plan.loras, MAIN[1])
    ranks, counts = {min(plan.ranks), max(plan.ranks)}, set(plan.loras)
    others = {
        *((model, rank, count) for model in plan.models),
        *((largest, each, count) for each in ranks),
        *((largest, rank, each) for each in counts),
    } - {(largest, rank, count)}
    yield from _rows(plan, largest, rank, count, plan.types_of_files)
    growing = [name for name in plan.types_of_files if name == GROWTH]
    for model, other_rank, other_count in sorted(others):
        yield from _rows(replace(plan, runs=1), model, other_rank, other_count, growing)


def _nearest(values: tuple[int, ...], wanted: int) -> int:
    return min(values, key=lambda value: abs(value - wanted))


def _rows(plan: Plan, model: str, rank: int, count: int, types: Sequence[str]) -> Iterator[Figures]:
    if not types:
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        shared = {"folder": temporary, "device": plan.device, "threads": plan.threads}
        (made,) = told_by("files.py", {**shared, "step": "make", "model": model, "rank": rank, "loras": count})
        for name in types:
            settings = {**shared, "model": model, "loras": count, "combination_type": name}
            names = ("PEFT", "loramerge", "floor", *(["full report"] if name == GROWTH else []))
            sides = {side: partial(asked, "files.py", {**settings, "step": side}) for side in names}
            found = in_turn(1 if decomposes(name) else min(plan.runs, 2), sides)
            yield {
                "part": "files",
                "model": model,
                "rank": rank,
                "loras": count,
                "type": name,
                **made,
                "sides": found,
                "ratios": [ratio(found, "PEFT", "loramerge"), ratio(found, "loramerge", "floor")],
                "steps": asked("files.py", {**settings, "step": "steps"}),
            }


def answer(step: str, folder: str, **settings: Any) -> Iterator[Figures]:
    """What one process says: of the inputs it made, or of the side it measured."""
    warnings.simplefilter("ignore")
    steps = {"make": make, "PEFT": theirs, "loramerge": ours, "floor": floor, "steps": where}
    steps["full report"] = partial(ours, report="full")
    yield steps[step](Path(folder), **settings)


def make(folder: Path, model: str, rank: int, loras: int, **_: Any) -> Figures:
    """Write the base's configs and the LoRAs as PEFT folders; the same in tiny for a first run."""
    layers = _write_inputs(folder / "real", model, rank, loras)
    _write_inputs(folder / "first", "tiny", 2, loras)
    size = sum(path.stat().st_size for path in (folder / "real").rglob("*.safetensors"))
    return {"layers": layers, "input_mb": size / 2**20}


def _write_inputs(folder: Path, model: str, rank: int, loras: int) -> int:
    from loramerge import Adapter
    from loramerge.formats.peft import write_folder

    base = write_configs(folder / "base", model)
    layers = layers_of(model)
    for number in range(loras):
        adapter = Adapter({"unet": random_pairs(layers, rank, seed=number)})
        write_folder(adapter, "unet", base, "float32", folder / f"lora{number}")
    return len(layers)


def ours(
    folder: Path, loras: int, combination_type: str, device: str, threads: int, report: str = "brief", **_: Any
) -> Figures:
    """A whole `run`."""
    from loramerge import read_recipe, run

    idle = idle_torch()
    limit(threads)
    for name in INPUTS:
        recipe = read_recipe(_write_recipe(folder / name, loras, combination_type, report))
        with stopwatch(device) as figures:
            run(recipe, out=folder / name / "ours", force=True, device=device)
    return {**figures, **_memory(idle)}


def where(folder: Path, loras: int, combination_type: str, device: str, threads: int, **_: Any) -> Figures:
    """Where a whole `run` spends the processors' time."""
    from loramerge import read_recipe, run

    limit(threads)
    recipes = [read_recipe(_write_recipe(folder / name, loras, combination_type, "brief")) for name in INPUTS]
    run(recipes[0], out=folder / INPUTS[0] / "ours", force=True, device=device)
    with counted(RUNNING) as seconds:
        run(recipes[1], out=folder / INPUTS[1] / "ours", force=True, device=device)
    return seconds


def floor(folder: Path, loras: int, **_: Any) -> Figures:
    """Every input read once for its SHA-256, side by side; as many bytes as ours wrote, with theirs, on the disk."""
    idle = idle_torch()
    place = folder / "real"
    inputs = [path for number in range(loras) for path in (place / f"lora{number}").rglob("*.safetensors")]
    made = sum(path.stat().st_size for path in (place / "ours").rglob("*.safetensors"))
    block, digest = bytes(1 << 22), hashlib.sha256()
    (place / "floor").mkdir(exist_ok=True)
    with stopwatch() as figures, ThreadPoolExecutor(2) as pool:
        for _ in pool.map(sha256_of, inputs):
            pass
        with (place / "floor" / "file").open("wb") as file:
            writer = SteadyWriter(file)
            for start in range(0, made, len(block)):
                hashed = pool.submit(digest.update, block[: made - start])
                writer.write(block[: made - start])
                hashed.result()
                writer.let_go()
        sync(place / "floor")
    return {**figures, **_memory(idle)}


def _write_recipe(folder: Path, loras: int, combination_type: str, report: str) -> Path:
    recipe = {
        "version": 1,
        "name": "bench",
        "license": "mit",
        "report": report,
        "base": {"source": "base"},
        "loras": [
            {"name": f"lora{number}", "source": f"lora{number}", "weight": WEIGHTS[number]} for number in range(loras)
        ],
        "merge": {"combination_type": combination_type, "engine": "factored", **PARAMETERS[combination_type]},
        "outputs": [{"kind": "adapter", "format": "diffusers"}],
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))  # JSON is YAML
    return path


def theirs(folder: Path, model: str, loras: int, combination_type: str, device: str, threads: int) -> Figures:
    """The same by hand. `add_weighted_adapter` is timed apart as well."""
    idle = idle_torch()
    import torch
    from diffusers import UNet2DConditionModel
    from peft import PeftModel

    limit(threads)
    sources, names = folder / "real", [f"lora{number}" for number in range(loras)]
    weights, sampled = list(WEIGHTS[:loras]), decomposes(combination_type)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(json.loads((sources / "base" / "unet" / "config.json").read_text()))
    for module in unet.modules():
        pefts.weightless(module, device)
    with stopwatch(device) as reading:
        peft_model = PeftModel.from_pretrained(unet, sources / names[0], adapter_name=names[0], torch_device=device)
        for name in names[1:]:
            peft_model.load_adapter(sources / name, adapter_name=name, torch_device=device)
    arguments = {"combination_type": "linear"} if sampled else pefts.arguments(combination_type)
    with stopwatch(device) as merging:
        peft_model.add_weighted_adapter(names, weights, "merged", **arguments)
    with stopwatch(device) as writing:
        peft_model.save_pretrained(sources / "theirs", selected_adapters=["merged"])
        sync(sources / "theirs")
    memory = _memory(idle)
    if sampled:
        merging = _sampled_merge(peft_model, model, loras, combination_type, device)
    both = {key: reading[key] + merging[key] + writing[key] for key in merging}
    return {**both, "call": merging["seconds"], **memory}


def _sampled_merge(peft_model: Any, model: str, loras: int, combination_type: str, device: str) -> Figures:
    """Decomposing all layers would take PEFT long: one of each shape, as in merging.py."""
    from loramerge import LowRank

    sample = Sample.of(layers_of(model), 1)
    layers = {name: peft_model.base_model.model.get_submodule(name) for (name, *_), _ in sample.of_each_shape(1)}
    pairs = [
        {
            name: LowRank(layer.lora_A[f"lora{number}"].weight.data, layer.lora_B[f"lora{number}"].weight.data, 1.0)
            for name, layer in layers.items()
        }
        for number in range(loras)
    ]
    return pefts.merge_one_of_each(pairs, sample, combination_type, device)


def _memory(idle: float) -> Figures:
    peak = peak_memory()
    return {"peak_mb": peak, "above_torch_mb": peak - idle}


if __name__ == "__main__":
    tell(answer)
