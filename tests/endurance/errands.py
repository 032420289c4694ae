"""The commands that are tried, each with two versions of what it makes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from command_line import write_recipe
from endurance.world import REPO, Errand, write_lora

from loramerge import read_recipe, run

OUTPUTS = [
    {"kind": "adapter", "format": "diffusers"},
    {"kind": "adapter", "format": "kohya"},
    {"kind": "model", "dtype": "float16"},
]
TARGETS = [
    {"kind": "folder", "path": "own"},
    {"kind": "folder", "path": "shared", "outputs": ["kohya"]},
    {"kind": "hub", "repo": REPO, "outputs": ["diffusers"]},
]
_TARGETS = ("own", "shared/small.safetensors", "shared/theirs.txt", "hub")


def _weight(version: int) -> float:
    return (1.0, 0.5)[version]


def _recipe(folder: Path, version: int, **more: Any) -> Path:
    loras = {"a": {"source": "a.safetensors", "weight": _weight(version)}, "b": "hf://me/b/b.safetensors"}
    return write_recipe(folder, base="base", loras=loras, license="mit", **more)


def _published(folder: Path, version: int) -> None:
    (folder / "shared").mkdir(exist_ok=True)
    (folder / "shared" / "theirs.txt").write_text("theirs", encoding="utf-8")
    _recipe(folder, version, outputs=OUTPUTS, publish=TARGETS)


def _built(folder: Path, version: int) -> None:
    """The artifacts of both versions, each made once."""
    for each in (1 - version, version):
        _published(folder, each)
        if not (folder / f"out-{each}").exists():
            run(read_recipe(folder / "small.yaml"), out=folder / f"out-{each}", device="cpu", targets=())


def _alone(folder: Path, version: int) -> None:
    loras = {"a": {"source": "a.safetensors", "weight": _weight(version)}, "b": "b.safetensors"}
    write_recipe(folder, base="base", loras=loras)


def _other_sources(folder: Path, version: int) -> None:
    write_recipe(folder, base="base", loras={"a": f"{'ad'[version]}.safetensors", "b": "hf://me/b/b.safetensors"})


def _matrix(folder: Path, version: int) -> None:
    loras = {"a": {"source": "a.safetensors", "weight": _weight(version)}, "b": "b.safetensors"}
    write_recipe(folder, base="base", loras=loras, matrix={"loras.b.weight": [1, 2, 3]})


def _another_lora(folder: Path, version: int) -> None:
    write_lora(folder / "c.safetensors", version + 5)


def _trained(folder: Path, version: int) -> None:
    """Two models that were trained from the base, of which one is meant."""
    for each in range(2):
        if not (folder / f"tuned-{each}").exists():
            outputs = [{"kind": "model", "name": "model"}]
            recipe = _recipe(folder, each, outputs=outputs)
            run(read_recipe(recipe), out=folder / "made", device="cpu", targets=())
            shutil.move(folder / "made" / "model", folder / f"tuned-{each}")
            shutil.rmtree(folder / "made")
    del version


def _searching(folder: Path, version: int) -> None:
    """A search that begins anew."""
    for name in ("small.study.log", "small.study.png", "small-tuned.yaml"):
        (folder / name).unlink(missing_ok=True)
    vary = {"loras.a.weight": {"from": 0.2, "to": 1.2}, "loras.b.weight": {"from": 0.2, "to": 1.2 + version}}
    loras = {"a": "a.safetensors", "b": "b.safetensors"}
    write_recipe(folder, base="base", loras=loras, search={"vary": vary, "trials": 4})


def _drawn(folder: Path, version: int) -> None:
    preview = {"prompts": ["a bear"], "steps": 1, "width": 32, "height": 32, "seeds": [version]}
    loras = {"a": "a.safetensors", "b": "b.safetensors"}
    write_recipe(folder, base="base", loras=loras, preview=preview)


RUN = Errand("run", "run small.yaml --out out --device cpu", _published, ("out", *_TARGETS))
BUILD = Errand("build", "run small.yaml --out out --device cpu", _alone, ("out",))
"""The least that a run makes."""
PUBLISH = Errand("publish", "publish small.yaml --artifact out-{version}", _built, ("out-0", "out-1", *_TARGETS))
PLAN = Errand("plan", "plan small.yaml --out out", _published, code=2)
LOCK = Errand("lock", "lock small.yaml", _other_sources, ("small.lock.yaml",))
MERGE = Errand(
    "merge",
    "merge a.safetensors:0.5 c.safetensors -o m.safetensors --base base --force",
    _another_lora,
    ("m.safetensors",),
)
CONVERT = Errand("convert", "convert c.safetensors -o c --format peft --base base --force", _another_lora, ("c",))
EXTRACT = Errand(
    "extract", "extract tuned-{version} base --rank 2 -o x.safetensors --force", _trained, ("x.safetensors",)
)
TUNE = Errand(
    "tune", "tune small.yaml", _searching, units=("small-tuned.yaml",), varies=("small.study.log", "small.study.png")
)
GRID = Errand("grid", "grid small.yaml --set loras.a.weight=0,1 --out grid", _drawn)
JOBS = Errand("run --jobs 2", "run small.yaml --jobs 2", _matrix, ("dist/small-1", "dist/small-2", "dist/small-3"))
ERRANDS = (RUN, PUBLISH, PLAN, LOCK, MERGE, CONVERT, EXTRACT, TUNE, GRID, JOBS)
