"""`loramerge run` with a fused pipeline, as whole processes: imports, hashing, copying, writing to the disk included.

The base is a folder of SDXL as diffusers saves it, in float16: its UNet, both text encoders and its VAE in their
published shapes, of random numbers, with the quickstart's tokenizers. The LoRA is on every linear layer of the UNet's
transformers. Everything is in the page cache before each side, and on the disk after it:

- `loramerge run` of a recipe whose one output is `kind: model`, with a base that it has never seen, and with one that
  it has hashed before, as from the second run on; then the same with nothing left to do;
- diffusers' way as a script: load the pipeline and the LoRA, `fuse_lora`, `unload_lora_weights`, `save_pretrained`;
- `cp -r` of the base and `sha256sum` of all files of the copy.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusing import LORA, RANK, write_lora
from measure import HERE, Figures, in_turn, ratio
from models import CHANNELS, write_weights
from processes import PROGRAM, timed

if TYPE_CHECKING:
    from plan import Plan

    from loramerge.bases.base import Base

MINIATURE = HERE.parents[1] / "recipes" / "quickstart" / "base"
FIRST, OURS, AGAIN = "loramerge run, base not seen before", "loramerge run", "loramerge run, nothing to do"
THEIRS, COPY = "diffusers' script", "cp -r, sha256sum"
PAIRS = ((THEIRS, OURS), (THEIRS, FIRST), (OURS, COPY), (FIRST, COPY))
UNET = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
"""What the published config has besides the layers that LoRAs are made for."""
VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
}
SETTLED = 2.5  # seconds after which a file counts as left alone
DIFFUSERS = """\
import os, pathlib, sys, torch
from diffusers import DiffusionPipeline
base, lora, out = sys.argv[1:]
pipeline = DiffusionPipeline.from_pretrained(base, torch_dtype=torch.float16, local_files_only=True)
pipeline.load_lora_weights(lora)
pipeline.fuse_lora()
pipeline.unload_lora_weights()
pipeline.save_pretrained(out)
for path in pathlib.Path(out).rglob("*.*"):
    with path.open("rb") as file:
        os.fsync(file.fileno())
"""


def rows(plan: Plan) -> Iterator[Figures]:
    """A row for the largest model."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        made = write_inputs(folder, plan.models[-1])
        time.sleep(SETTLED)
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
        sides = _sides(folder, environment)
        if not plan.cold:
            _beginning(folder, "warm")
            sides[OURS]()  # what the base consists of is kept from now on
        found = in_turn(plan.runs, sides)
    yield {
        "part": "fused",
        "model": plan.models[-1],
        "rank": RANK,
        **made,
        "sides": found,
        "ratios": [ratio(found, over, under) for over, under in PAIRS],
        "cpu_ratios": [ratio(found, over, under, "cpu") for over, under in PAIRS],
    }


def write_inputs(folder: Path, model: str) -> Figures:
    """The base, a LoRA and a recipe; what they take, in MB.

    Args:
        folder: Where to; it exists.
        model: `tiny` is the quickstart's own base, one with half of the channels for `small`, else SDXL.
    """
    modules = write_base(folder / "base", model).components["unet"].modules
    layers = {name: shape for name, shape in modules.items() if ".attentions." in name and not shape[2:]}
    write_lora(folder / LORA, "unet", layers)
    recipe = {
        "version": 1,
        "name": "fused",
        "license": "mit",
        "report": "brief",
        "base": {"source": str(folder / "base")},
        "loras": [{"name": "lora", "source": str(folder / LORA)}],
        "merge": {"combination_type": "cat", "engine": "factored"},
        "outputs": [{"kind": "model"}],
    }
    (folder / "fused.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    size = sum(path.stat().st_size for path in (folder / "base").rglob("*") if path.is_file())
    return {"layers": len(layers), "base_mb": size / 2**20}


def write_base(folder: Path, model: str) -> Base:
    """A whole pipeline of random weights.

    Args:
        folder: Where to; it is made.
        model: As `write_inputs` takes it.
    """
    from loramerge import load_base

    shutil.copytree(MINIATURE, folder)
    if model != "tiny":
        for component, config in _configs(model).items():
            (folder / component / "config.json").write_text(json.dumps(config))
        for component, file in _weights(folder).items():
            write_weights(file, _shapes(folder, component))
    return load_base(str(folder))


def _configs(model: str) -> dict[str, dict[str, Any]]:
    from loramerge.bases.published import architecture

    known = {name: dict(component.config) for name, component in architecture("sdxl").components.items()}
    known["unet"] |= UNET
    if model in CHANNELS:
        known["unet"]["block_out_channels"] = [160, 320, 640]
    return {**known, "vae": {"_class_name": "AutoencoderKL", **VAE}}


def _weights(base: Path) -> Mapping[str, Path]:
    """Component → its file of weights."""
    return {path.parent.name: path for path in base.rglob("*.safetensors")}


def _shapes(base: Path, component: str) -> Mapping[str, tuple[int, ...]]:
    from loramerge import load_base

    if component != "vae":
        return load_base(str(base)).components[component].parameters
    import torch
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        model = AutoencoderKL.from_config(json.loads((base / "vae" / "config.json").read_text()))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _sides(folder: Path, environment: Mapping[str, str]) -> dict[str, Callable[[], Figures]]:
    out = folder / "out"
    run = (*PROGRAM, "run", str(folder / "fused.yaml"), "--out", str(out), "--device", "cpu")
    diffusers = (sys.executable, "-c", DIFFUSERS, str(folder / "base"), str(folder / LORA), str(out))
    files = f"find {out} -type f -exec"
    copy = f"cp -r {folder / 'base'} {out} && {files} sha256sum {{}} + > /dev/null && {files} sync {{}} +"

    def of(what: str, command: tuple[str, ...]) -> Figures:
        _beginning(folder, what)
        return timed(command, environment)

    def again() -> Figures:
        _beginning(folder, OURS)
        timed(run, environment)
        time.sleep(SETTLED)
        timed(run, environment)  # which hashes what was just written
        return timed(run, environment)

    return {
        FIRST: partial(of, FIRST, run),
        OURS: partial(of, OURS, run),
        THEIRS: partial(of, THEIRS, diffusers),
        COPY: partial(of, COPY, ("sh", "-c", copy)),
        AGAIN: again,
    }


def _beginning(folder: Path, side: str) -> None:
    """Nothing is there of the side before, and the inputs are in the page cache."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    if side == FIRST:
        shutil.rmtree(folder / "cache" / "loramerge" / "digests", ignore_errors=True)
    block = bytearray(1 << 20)
    for path in (*(folder / "base").rglob("*"), folder / LORA):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.readinto(block):
                    pass
