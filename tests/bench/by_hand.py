"""What people do by hand to make one LoRA of two: a script each, run as a process of its own.

- `kohya`: the way of sdxl_merge_lora.py with `--concat`, with the libraries that it imports: load both files, scale
  every factor by its LoRA's ratio, put the factors side by side, hash what comes out for its metadata, save.
- `concat`: the same with torch alone.
- `peft`: both LoRAs as PEFT folders, which somebody made before, loaded into a UNet without weights, which nobody
  has; `add_weighted_adapter`, saved. No way by PEFT is shorter.
- `guide`: diffusers' guide to merging LoRAs, from the two files: the UNet, the pipeline around it, each LoRA loaded
  into that and made into a PeftModel and a PEFT folder; both folders loaded into a UNet, `add_weighted_adapter`, saved.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pefts
from measure import sync
from models import WEIGHTS


def _kohya(folder: Path) -> None:
    import accelerate
    import diffusers
    import transformers

    # All of it is loaded before it begins.
    _ = (accelerate.Accelerator, diffusers.StableDiffusionPipeline, diffusers.AutoencoderKL, diffusers.DDPMScheduler)
    _ = (transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection, transformers.CLIPTokenizer)
    _concat(folder)


def _concat(folder: Path) -> None:
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


def _peft(folder: Path) -> None:
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(json.loads((folder / "base" / "unet" / "config.json").read_text()))
    for module in unet.modules():
        pefts.weightless(module, "cpu")
    _merged(unet, folder, folder)


def _guide(folder: Path) -> None:
    import copy

    import torch
    from diffusers import DiffusionPipeline, UNet2DConditionModel
    from peft import get_peft_model

    base = str(folder / "base")

    def fresh() -> Any:
        return UNet2DConditionModel.from_pretrained(
            base, torch_dtype=torch.float16, use_safetensors=True, subfolder="unet"
        )

    unet = fresh()
    pipeline = DiffusionPipeline.from_pretrained(base, torch_dtype=torch.float16, unet=unet)
    plain = copy.deepcopy(unet)
    for name in ("lora0", "lora1"):
        pipeline.load_lora_weights(folder / f"{name}.safetensors", adapter_name=name)
        made = get_peft_model(plain, pipeline.unet.peft_config[name], adapter_name=name)
        made.load_state_dict({f"base_model.model.{key}": tensor for key, tensor in pipeline.unet.state_dict().items()})
        made.save_pretrained(folder / "out")
        plain = made.unload()
        pipeline.delete_adapters(name)
    del pipeline, plain, made, unet
    _merged(fresh(), folder / "out", folder)


def _merged(unet: Any, loras: Path, folder: Path) -> None:
    """Both PEFT folders loaded, merged and saved."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(unet, loras / "lora0", adapter_name="lora0", torch_device="cpu")
    model.load_adapter(loras / "lora1", adapter_name="lora1", torch_device="cpu")
    model.add_weighted_adapter(["lora0", "lora1"], list(WEIGHTS[:2]), "merged", combination_type="cat")
    model.save_pretrained(folder / "out", selected_adapters=["merged"])


STEPS = {"kohya": _kohya, "concat": _concat, "peft": _peft, "guide": _guide}

if __name__ == "__main__":
    what, place = sys.argv[1:]
    STEPS[what](Path(place))
    sync(Path(place) / "out")
