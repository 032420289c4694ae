"""Trains the miniature of Stable Diffusion XL, and its LoRAs.

    cd recipes/quickstart && python -m train [vae] [unet] [ink] [glow] [star] [paper] [--device cuda]

Each stage goes on from what lies in the folder; all of them, in this order, make everything again. `settings.py` says
with what seeds, sizes, steps and rates.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

from train import model
from train.loras import train_lora
from train.settings import Settings
from train.training import train_unet, train_vae


def main() -> None:
    """Parse and train."""
    settings = Settings()
    names = ("vae", "unet", *(lora.name for lora in settings.loras))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"all by default: {', '.join(names)}")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1], help="where the models lie")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=int, help="of the CPU; all cores by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.stages) - set(names):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)
    train(arguments.stages or names, arguments.folder, settings, arguments.device)


def train(stages: Collection[str], folder: Path, settings: Settings, device: str) -> None:
    """Make `base/` and a file for each LoRA in `folder`."""
    base = folder / "base"
    if "vae" in stages:
        pipeline = model.build(base, settings)
        train_vae(pipeline, settings.vae, device)
        model.save(pipeline, base)
    if "unet" in stages:
        pipeline = model.load(base)
        train_unet(pipeline, settings.unet, device, lambda: model.save(pipeline, base))
        model.save(pipeline, base)
    for lora in settings.loras:
        if lora.name in stages:
            train_lora(model.load(base), lora, folder / f"{lora.name}.safetensors", device)


if __name__ == "__main__":
    main()
