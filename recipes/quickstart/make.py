"""Makes the base and the two LoRAs of recipes/quickstart.yaml, from seeds alone.

    python recipes/quickstart/make.py [FOLDER]

The base is a whole StableDiffusionXLPipeline that nobody trained. Its convolutions blur, and its scheduler takes what
the UNet predicts for the picture itself: so random weights paint soft fields of colour that follow prompt and noise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge import tensors
from loramerge.base import canonical
from loramerge.formats.sgm import sgm_name

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

SEED = 2
TEXT_WIDTHS = (16, 24)
TOKENS = 77


def main(folder: Path) -> None:
    """Write `base/`, `ink.safetensors` and `glow.safetensors` into `folder`."""
    pipeline = base(folder / "base")
    save(pipeline, folder / "base")
    ink(pipeline, folder / "ink.safetensors")
    glow(pipeline, folder / "glow.safetensors")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        path.chmod(0o644)
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1000:.0f} kB in {folder}")


def base(folder: Path) -> Any:
    """A tiny SDXL pipeline; its tokenizers are written to `folder`, from which transformers builds them."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizers = [tokenizer(folder / name) for name in ("tokenizer", "tokenizer_2")]
    configs = [
        text_config(len(tokenizers[0]), width, activation)
        for width, activation in zip(TEXT_WIDTHS, ("quick_gelu", "gelu"), strict=True)
    ]
    pipeline = StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            sample_size=128,
            block_out_channels=(8, 8, 12, 12),
            layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=4,
            scaling_factor=1.0,
            force_upcast=False,
        ),
        text_encoder=CLIPTextModel(configs[0]),
        text_encoder_2=CLIPTextModelWithProjection(configs[1]),
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(8, 16, 16),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(1, 2, 2),
            transformer_layers_per_block=(1, 1, 1),
            cross_attention_dim=sum(TEXT_WIDTHS),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + TEXT_WIDTHS[1],
            norm_num_groups=4,
        ),
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            set_alpha_to_one=False,
            prediction_type="sample",
            steps_offset=1,
            timestep_spacing="trailing",
        ),
        add_watermarker=False,
    )
    generator = torch.Generator().manual_seed(SEED)
    for name in ("text_encoder", "text_encoder_2", "unet", "vae"):
        paint(pipeline.components[name], generator)
    with torch.no_grad():
        pipeline.vae.decoder.conv_out.weight.mul_(0.8)
        pipeline.vae.decoder.conv_out.bias.zero_()
    return pipeline


def paint(model: nn.Module, generator: Generator) -> None:
    """Fill with random weights that keep the size of what passes through, and smooth it.

    Those that read the text are larger, so that the prompt matters.
    """
    import torch

    ridge = torch.tensor([1.0, 2.0, 1.0]) / 4
    blur = torch.outer(ridge, ridge)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim == 1:
                if name.endswith("bias"):
                    weight.copy_(0.3 * noise)
                continue
            detail = noise * weight[0].numel() ** -0.5
            if weight.shape[2:] == (3, 3):
                mixture = torch.randn(weight.shape[:2], generator=generator) * weight.shape[1] ** -0.5
                weight.copy_(2 * mixture[..., None, None] * blur + 0.3 * detail)
            elif "embedding.weight" in name:
                weight.copy_(noise)
            else:
                weight.copy_(detail * (3 if "attn2.to_v" in name or "attn2.to_out" in name else 1))


def ink(pipeline: Any, path: Path) -> None:
    """Rank 4 on the attention of the UNet and of both text encoders, as kohya's sd-scripts writes it for SDXL."""
    import torch

    rank, alpha = 4, 2.0
    generator = torch.Generator().manual_seed(SEED + 1)
    file: dict[str, Tensor] = {}
    for component, prefix in (("unet", "lora_unet_"), ("text_encoder", "lora_te1_"), ("text_encoder_2", "lora_te2_")):
        names = ("to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "out_proj")
        for module, weight in layers(pipeline, component, names):
            name = sgm_name(module, pipeline.unet.config) if component == "unet" else module
            down, up = factors(weight, rank, 0.7, generator)
            key = f"{prefix}{name}".replace(".", "_")
            file[f"{key}.lora_down.weight"] = down
            file[f"{key}.lora_up.weight"] = up * (rank / alpha)
            file[f"{key}.alpha"] = torch.tensor(alpha)
    half = {key: tensor.half() for key, tensor in file.items()}
    metadata = {
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": "ink",
        "modelspec.trigger_phrase": "ink drawing",
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_network_alpha": str(alpha),
        "ss_network_dim": str(rank),
        "ss_network_module": "networks.lora",
    }
    tensors.write(path, half, metadata)


def glow(pipeline: Any, path: Path) -> None:
    """Rank 8 on the feed-forward layers and first convolutions of the UNet, as diffusers' training scripts write it."""
    import torch

    generator = torch.Generator().manual_seed(SEED + 2)
    file: dict[str, Tensor] = {}
    for module, weight in layers(pipeline, "unet", ("ff.net.0.proj", "ff.net.2", "conv1", "to_v")):
        down, up = factors(weight, 8, 0.5, generator)
        file[f"unet.{module}.lora_A.weight"], file[f"unet.{module}.lora_B.weight"] = down.half(), up.half()
    tensors.write(path, file, {"format": "pt"})


def layers(pipeline: Any, component: str, names: tuple[str, ...]) -> list[tuple[str, Tensor]]:
    """(canonical name, weight) of the layers whose name ends so, in the order of the architecture."""
    modules = pipeline.components[component].named_modules()
    return [(canonical(component, name), module.weight) for name, module in modules if name.endswith(names)]


def factors(weight: Tensor, rank: int, strength: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """(down, up) with a delta of `strength` times the norm of `weight`."""
    import torch

    down = torch.randn(rank, *weight.shape[1:], generator=generator)
    up = torch.randn(weight.shape[0], rank, generator=generator)
    up *= strength * weight.norm() / (up @ down.flatten(1)).norm()
    return down, up.reshape(*up.shape, *(1 for _ in weight.shape[2:]))


def text_config(vocabulary: int, width: int, activation: str) -> Any:
    """CLIP's text encoder with two layers."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=width // 8,
        max_position_embeddings=TOKENS,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def tokenizer(folder: Path) -> Any:
    """CLIP's byte pair encoding before it has learnt any pairs: a token per character."""
    from transformers import CLIPTokenizer

    characters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    tokens = [*characters, *(f"{character}</w>" for character in characters), "<|startoftext|>", "<|endoftext|>"]
    special = {"bos_token": tokens[-2], "eos_token": tokens[-1], "pad_token": tokens[-1], "unk_token": tokens[-1]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    write_json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    write_json(folder / "special_tokens_map.json", special)
    settings = {"model_max_length": TOKENS, "tokenizer_class": "CLIPTokenizer"}
    write_json(folder / "tokenizer_config.json", special | settings)
    return CLIPTokenizer.from_pretrained(folder)


def save(pipeline: Any, folder: Path) -> None:
    """Write configs and float16 weights under the names that published pipelines have, the same to the byte."""
    pipeline.save_config(folder)
    for name, component in pipeline.components.items():
        if name.startswith(("unet", "vae", "scheduler")):
            component.save_config(folder / name)
        if name.startswith("text_encoder"):
            component.config.architectures = [type(component).__name__]
            component.config.save_pretrained(folder / name)
        if name.startswith(("unet", "vae", "text_encoder")):
            published = name if name.startswith("text_encoder") else "unet"
            weights = {canonical(published, key): value.half() for key, value in component.state_dict().items()}
            file = "model" if name.startswith("text_encoder") else "diffusion_pytorch_model"
            tensors.write(folder / name / f"{file}.safetensors", weights, {"format": "pt"})


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Indented, keys in the given order."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
