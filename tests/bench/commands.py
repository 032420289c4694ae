"""`loramerge` as whole processes where an adapter comes out: imports, hashing, checking and writing included.

- SDXL: two LoRAs of float16 and one rank, in kohya's names, on every layer of the UNet's transformers, into a file of
  float16 in kohya's names, by `cat`: with either engine, and with `report: full`. Beside it stands what people do by
  hand, as by_hand.py has it; and, with `--sd-scripts FOLDER`, kohya's own networks/sdxl_merge_lora.py of a checkout,
  run by the Python of its .venv if it has one.
- A small merge: two LoRAs of 3 MB for Stable Diffusion 1.5 into files for diffusers and kohya, with the full report.
  Beside it a Python that imports what PEFT's side can't do without.
- `plan` of 40 recipes with nothing to do, and of 1,000; `run` of the 40 once more. Beside them a plan of one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fused import write_base
from measure import HERE, Figures, in_turn, ratio
from models import WEIGHTS, layers_of, random_pairs, write_configs
from processes import PROGRAM, timed

if TYPE_CHECKING:
    from models import Shape
    from plan import Plan

    from loramerge.bases.base import Base

RANK, SMALL_RANK = 32, 4
OURS, FULL, BY_PEFT = "loramerge run", "loramerge run, full report", "loramerge run, engine: peft"
KOHYA, CONCAT = "kohya's way", "kohya's way, torch alone"
PEFT, GUIDE = "PEFT by hand", "diffusers' guide by hand"
SCRIPT = "kohya's sdxl_merge_lora.py --concat"
BY_HAND = {KOHYA: "kohya", CONCAT: "concat", PEFT: "peft", GUIDE: "guide"}
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
    base = write_base(folder / "base", model)
    modules = base.components["unet"].modules
    layers = {name: shape for name, shape in modules.items() if ".attentions." in name}
    _write_loras(folder, base, layers, rank)
    recipes = {
        OURS: _recipe(folder, "brief", "factored", "brief", ["kohya"]),
        FULL: _recipe(folder, "full", "factored", "full", ["kohya"]),
        BY_PEFT: _recipe(folder, "peft", "peft", "brief", ["kohya"]),
    }
    sides = {side: partial(_run, folder, recipe, environment) for side, recipe in recipes.items()}
    for side, step in BY_HAND.items():
        sides[side] = partial(
            _timed, folder, (sys.executable, str(HERE / "by_hand.py"), step, str(folder)), environment
        )
    pairs = [(KOHYA, OURS), (CONCAT, OURS), (PEFT, OURS), (GUIDE, OURS), (FULL, OURS), (BY_PEFT, PEFT)]
    if plan.sd_scripts:
        sides[SCRIPT] = partial(_script, folder, Path(plan.sd_scripts).resolve(), environment)
        pairs.insert(0, (SCRIPT, OURS))
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    facts = {"what": "adapter", "model": model, "rank": rank, "loras": 2, "layers": len(layers), "in_mb": size / 2**20}
    return {**facts, **_measured(plan, sides, pairs)}


def _small(plan: Plan, folder: Path, environment: Mapping[str, str], *, tiny: bool) -> Figures:
    model, rank = ("tiny" if tiny else "sd15"), SMALL_RANK
    base, layers = write_configs(folder / "base", model), layers_of(model)
    _write_loras(folder, base, layers, rank)
    recipe = _recipe(folder, "small", "peft", "full", ["diffusers", "kohya"])
    sides = {
        SMALL: partial(_run, folder, recipe, environment),
        IMPORTS: partial(_timed, folder, (sys.executable, "-c", IMPORTS), environment),
    }
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    facts = {
        "what": "small merge",
        "model": model,
        "rank": rank,
        "loras": 2,
        "layers": len(layers),
        "in_mb": size / 2**20,
    }
    return {**facts, **_measured(plan, sides, [(SMALL, IMPORTS)])}


def _many(plan: Plan, folder: Path, environment: Mapping[str, str], *, tiny: bool) -> Figures:
    _write_loras(folder, write_configs(folder / "base", "tiny"), layers_of("tiny"), SMALL_RANK)
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


def _write_loras(folder: Path, base: Base, layers: Mapping[str, Shape], rank: int) -> None:
    """Two LoRAs of float16, in kohya's names and as PEFT folders."""
    from loramerge import Adapter
    from loramerge.formats import KohyaOutput, Labels
    from loramerge.formats.peft import write_folder

    written = KohyaOutput(kind="adapter", format="kohya", dtype="float16")
    for number in range(2):
        adapter = Adapter({"unet": random_pairs(layers, rank, seed=number)})
        written.write_adapter(adapter, base, Labels(f"lora{number}"), folder)
        write_folder(adapter, "unet", base, "float16", folder / f"lora{number}")


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


def script_in(checkout: str | Path) -> Path:
    """Kohya's own script in a checkout of kohya-ss/sd-scripts."""
    return Path(checkout) / "networks" / "sdxl_merge_lora.py"


def _script(folder: Path, checkout: Path, environment: Mapping[str, str]) -> Figures:
    """Kohya's own script, as its users type it."""
    python = checkout / ".venv" / "bin" / "python"
    models = [str(folder / f"lora{number}.safetensors") for number in range(2)]
    (folder / "theirs").mkdir(exist_ok=True)
    command = [
        *(str(python if python.exists() else sys.executable), str(script_in(checkout))),
        *("--save_to", str(folder / "theirs" / "merged.safetensors"), "--precision", "float"),
        *("--save_precision", "fp16", "--concat", "--models", *models, "--ratios", *map(str, WEIGHTS[:2])),
    ]
    return _timed(folder, command, {**environment, "PYTHONPATH": str(checkout)})
