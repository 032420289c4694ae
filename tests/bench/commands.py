"""`loramerge` as whole processes where an adapter comes out: imports, hashing, checking and writing included.

- SDXL: two LoRAs of float16 and one rank, in kohya's names, on every layer of the UNet's transformers, into a file of
  float16 in kohya's names, by `cat`: with either engine, and with `report: full`. Beside it stand kohya's way with
  `--concat` (load both files, scale every factor by its LoRA's ratio, put the factors side by side, hash what comes
  out for its metadata, save), alone and with the libraries that sdxl_merge_lora.py imports, and PEFT by
  hand: a UNet without weights, both PEFT folders loaded into it, `add_weighted_adapter`, saved.
- A small merge: two LoRAs of 3 MB for Stable Diffusion 1.5 into files for diffusers and kohya, with the full report.
  Beside it a Python that imports what PEFT's side can't do without.
- `plan` of 40 recipes with nothing to do, and of 1,000; `run` of the 40 once more. Beside them a plan of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pefts
from measure import Figures, in_turn, ratio, sync
from models import WEIGHTS, layers_of, random_pairs, write_configs
from processes import PROGRAM, timed

if TYPE_CHECKING:
    from plan import Plan

RANK, SMALL_RANK = 32, 4
OURS, FULL, BY_PEFT = "loramerge run", "loramerge run, full report", "loramerge run, engine: peft"
KOHYA, CONCAT, PEFT = "kohya's way", "kohya's way, torch alone", "PEFT by hand"
SMALL, IMPORTS = "loramerge run, engine: peft, full report", "import torch, peft"
ONE, FORTY, MANY, ONCE_MORE = "plan of 1", "plan of 40", "plan of 1000", "run of 40, nothing to do"
RECIPES = {ONE: 1, FORTY: 40, MANY: 1000}
FEW = {ONE: 1, FORTY: 2, MANY: 4}
"""The same, in the smallest form."""


def rows(plan: Plan) -> Iterator[Figures]:
    """A row for the adapter of the largest model, for a small merge, and for many recipes."""
    tiny = "tiny" in plan.models
    for measured in (_adapter, _small, _many):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
            yield {"part": "commands", **measured(plan, folder, environment, tiny=tiny)}


def _adapter(plan: Plan, folder: Path, environment: Mapping[str, str], *, tiny: bool) -> Figures:
    model, rank = plan.models[-1], SMALL_RANK if tiny else RANK
    layers = _write_loras(folder, model, rank)
    recipes = {
        OURS: _recipe(folder, "brief", "factored", "brief", ["kohya"]),
        FULL: _recipe(folder, "full", "factored", "full", ["kohya"]),
        BY_PEFT: _recipe(folder, "peft", "peft", "brief", ["kohya"]),
    }
    sides = {side: partial(_run, folder, recipe, environment) for side, recipe in recipes.items()}
    by_hand = {KOHYA: "kohya", CONCAT: "concat", PEFT: "peft"}
    for side, step in by_hand.items():
        sides[side] = partial(_timed, folder, (sys.executable, __file__, step, str(folder), model), environment)
    pairs = [(KOHYA, OURS), (CONCAT, OURS), (PEFT, OURS), (FULL, OURS), (BY_PEFT, PEFT)]
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    facts = {"what": "adapter", "model": model, "rank": rank, "loras": 2, "layers": layers, "in_mb": size / 2**20}
    return {**facts, **_measured(plan, sides, pairs)}


def _small(plan: Plan, folder: Path, environment: Mapping[str, str], *, tiny: bool) -> Figures:
    model, rank = ("tiny" if tiny else "sd15"), SMALL_RANK
    layers = _write_loras(folder, model, rank)
    recipe = _recipe(folder, "small", "peft", "full", ["diffusers", "kohya"])
    sides = {
        SMALL: partial(_run, folder, recipe, environment),
        IMPORTS: partial(_timed, folder, (sys.executable, "-c", IMPORTS), environment),
    }
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    facts = {"what": "small merge", "model": model, "rank": rank, "loras": 2, "layers": layers, "in_mb": size / 2**20}
    return {**facts, **_measured(plan, sides, [(SMALL, IMPORTS)])}


def _many(plan: Plan, folder: Path, environment: Mapping[str, str], *, tiny: bool) -> Figures:
    _write_loras(folder, "tiny", SMALL_RANK)
    numbers = FEW if tiny else RECIPES
    for side, number in numbers.items():
        _recipes(folder, side, number)
    sides: dict[str, Callable[[], Figures]] = {}
    for side in (ONE, FORTY):
        timed((*PROGRAM, "run", side, "--device", "cpu"), environment, folder)
        sides[side] = partial(timed, (*PROGRAM, "plan", side), environment, folder)
    sides[ONCE_MORE] = partial(timed, (*PROGRAM, "run", FORTY, "--device", "cpu"), environment, folder)
    pending = ("sh", "-c", '"$@" || test $? = 2', "sh", *PROGRAM, "plan", MANY)
    sides[MANY] = partial(timed, pending, environment, folder)
    pairs = [(FORTY, ONE), (MANY, FORTY), (ONCE_MORE, FORTY)]
    return {"what": "many recipes", "recipes": numbers, **_measured(plan, sides, pairs)}


def _measured(plan: Plan, sides: Mapping[str, Callable[[], Figures]], pairs: Sequence[tuple[str, str]]) -> Figures:
    if not plan.cold:
        for side in sides.values():
            side()  # what is kept of the base is there from now on, and the bytecode of what is loaded
    found = in_turn(plan.runs, sides)
    return {
        "sides": found,
        "ratios": [ratio(found, over, under) for over, under in pairs],
        "cpu_ratios": [ratio(found, over, under, "cpu") for over, under in pairs],
    }


def _write_loras(folder: Path, model: str, rank: int) -> int:
    """Two LoRAs of float16, in kohya's names and as PEFT folders, and the base's configs; on how many layers."""
    from loramerge import Adapter
    from loramerge.formats import KohyaOutput, Labels
    from loramerge.formats.peft import write_folder

    base, layers = write_configs(folder / "base", model), layers_of(model)
    written = KohyaOutput(kind="adapter", format="kohya", dtype="float16")
    for number in range(2):
        adapter = Adapter({"unet": random_pairs(layers, rank, seed=number)})
        written.write_adapter(adapter, base, Labels(f"lora{number}"), folder)
        write_folder(adapter, "unet", base, "float16", folder / f"lora{number}")
    return len(layers)


def _recipe(folder: Path, name: str, engine: str, report: str, formats: Sequence[str]) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(_said(folder, name, engine, report, formats)))  # JSON is YAML
    return path


def _said(folder: Path, name: str, engine: str, report: str, formats: Sequence[str]) -> dict[str, Any]:
    return {
        "version": 1,
        "name": name,
        "license": "mit",
        "report": report,
        "base": {"source": str(folder / "base")},
        "loras": [
            {"name": f"lora{number}", "source": str(folder / f"lora{number}.safetensors"), "weight": WEIGHTS[number]}
            for number in range(2)
        ],
        "merge": {"combination_type": "cat", "engine": engine},
        "outputs": [{"kind": "adapter", "format": each, "dtype": "float16"} for each in formats],
    }


def _recipes(folder: Path, side: str, number: int) -> None:
    """A folder of recipes, each with a weight of its own."""
    (folder / side).mkdir()
    for each in range(number):
        recipe = _said(folder, f"recipe{side.rsplit(maxsplit=1)[-1]}-{each}", "factored", "brief", ["diffusers"])
        recipe["loras"][0]["weight"] = each / number
        (folder / side / f"{recipe['name']}.yaml").write_text(json.dumps(recipe))


def _run(folder: Path, recipe: Path, environment: Mapping[str, str]) -> Figures:
    return _timed(folder, (*PROGRAM, "run", str(recipe), "--out", str(folder / "out"), "--device", "cpu"), environment)


def _timed(folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> Figures:
    shutil.rmtree(folder / "out", ignore_errors=True)
    return timed(command, environment)


def _kohya(folder: Path, model: str) -> None:
    """The same with what the script imports, through its library: all of it is loaded before it begins."""
    import accelerate
    import diffusers
    import transformers

    _ = (accelerate.Accelerator, diffusers.StableDiffusionPipeline, diffusers.AutoencoderKL, diffusers.DDPMScheduler)
    _ = (transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection, transformers.CLIPTokenizer)
    _concat(folder, model)


def _concat(folder: Path, _model: str) -> None:
    import torch
    from safetensors.torch import load_file, save, save_file

    merged: dict[str, torch.Tensor] = {}
    for number in range(2):
        for key, tensor in load_file(folder / f"lora{number}.safetensors").items():
            if key.endswith(".alpha"):
                merged.setdefault(key, tensor)
                continue
            scaled = tensor.float() * WEIGHTS[number]
            merged[key] = torch.cat([merged[key], scaled], int("lora_up" in key)) if key in merged else scaled
    merged = {key: tensor.half() for key, tensor in merged.items()}
    data = save(merged)
    start = int.from_bytes(data[:8], "little") + 8  # behind the header
    hashes = {"sshs_model_hash": data[start:], "sshs_legacy_hash": data[1 << 20 :][: 1 << 16]}
    metadata = {key: hashlib.sha256(part).hexdigest() for key, part in hashes.items()}
    (folder / "out").mkdir()
    save_file(merged, folder / "out" / "merged.safetensors", metadata=metadata)
    sync(folder / "out")


def _peft(folder: Path, _model: str) -> None:
    import torch
    from diffusers import UNet2DConditionModel
    from peft import PeftModel

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(json.loads((folder / "base" / "unet" / "config.json").read_text()))
    for module in unet.modules():
        pefts.weightless(module, "cpu")
    model = PeftModel.from_pretrained(unet, folder / "lora0", adapter_name="lora0", torch_device="cpu")
    model.load_adapter(folder / "lora1", adapter_name="lora1", torch_device="cpu")
    model.add_weighted_adapter(["lora0", "lora1"], list(WEIGHTS[:2]), "merged", combination_type="cat")
    model.save_pretrained(folder / "out", selected_adapters=["merged"])
    sync(folder / "out")


if __name__ == "__main__":
    what, place, named = sys.argv[1:]
    {"kohya": _kohya, "concat": _concat, "peft": _peft}[what](Path(place), named)
