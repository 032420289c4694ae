"""Stable Diffusion 1.5, 2 and XL with every structure of the real ones and next to no weights, built offline.

A pipeline is random but seeded, float32 and in eval mode, and takes and makes 32×32 pictures.
"""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTokenizer

SIZE = 32  # pixels
CONTEXT = 77  # tokens, two of them start and end
_NOISE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def sdxl(seed: int = 0) -> Any:
    """SDXL: two text encoders of different widths, no attention in the outer blocks, linear projections."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer, tokenizer_2 = _tokenizer(), _tokenizer()
    torch.manual_seed(seed)
    text_encoder = CLIPTextModel(_clip(tokenizer, width=24, activation="quick_gelu"))
    text_encoder_2 = CLIPTextModelWithProjection(_clip(tokenizer_2, width=32, activation="gelu"))
    unet = UNet2DConditionModel(
        sample_size=SIZE // 2,
        block_out_channels=(8, 16, 24),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2, 3),
        transformer_layers_per_block=(1, 1, 2),
        cross_attention_dim=24 + 32,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        norm_num_groups=4,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=EulerDiscreteScheduler(timestep_spacing="leading", **_NOISE),
        add_watermarker=False,
    )
    return _ready(pipeline)


def sd15(seed: int = 0) -> Any:
    """Stable Diffusion 1.5: `proj_in` and `proj_out` are 1×1 convolutions, the text is 32 wide."""
    return _stable_diffusion(seed, text_width=32, activation="quick_gelu", use_linear_projection=False)


def sd2(seed: int = 0) -> Any:
    """Stable Diffusion 2: `proj_in` and `proj_out` are linear, the text is 40 wide."""
    return _stable_diffusion(seed, text_width=40, activation="gelu", use_linear_projection=True)


FAMILIES: dict[str, Callable[[], Any]] = {"sd15": sd15, "sd2": sd2, "sdxl": sdxl}


@functools.cache
def shared(family: str) -> Any:
    """A pipeline of `family`, built once per process. Read-only by agreement: build one to change it."""
    return FAMILIES[family]()


def save(pipeline: Any, folder: Path, *, text_model_prefix: bool = True, **options: Any) -> Path:
    """Save as real repositories have it: `vocab.json` and `merges.txt` instead of `tokenizer.json`, prefixed names.

    Args:
        pipeline: What to save.
        folder: Where to; made if absent.
        text_model_prefix: Name the tensors of every text encoder `text_model.…`, as in every published
            checkpoint. transformers 5 itself writes those of a `CLIPTextModel` without it.
        options: Passed to `save_pretrained`.
    """
    pipeline.save_pretrained(folder, **options)
    for name in ("text_encoder", "text_encoder_2"):
        for file in sorted((folder / name).glob("*.safetensors")):
            renamed = {_published(key, prefix=text_model_prefix): tensor for key, tensor in load_file(file).items()}
            save_file(renamed, file, metadata={"format": "pt"})
    for file in sorted(folder.glob("tokenizer*/tokenizer.json")):
        _write_vocabulary(file.parent)
        file.unlink()
    return folder


@functools.cache
def folder(family: str) -> Path:
    """A saved pipeline of `family`, made once per process. Read-only by agreement: copy it to change it."""
    return save(shared(family), _root() / family)


@functools.cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="tiny-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def _published(key: str, *, prefix: bool) -> str:
    bare = key.removeprefix("text_model.")
    return f"text_model.{bare}" if prefix and not bare.startswith("text_projection") else bare


def _stable_diffusion(seed: int, *, text_width: int, activation: str, use_linear_projection: bool) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    text_encoder = CLIPTextModel(_clip(tokenizer, width=text_width, activation=activation))
    unet = UNet2DConditionModel(
        sample_size=SIZE // 2,
        block_out_channels=(16, 24, 24),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=text_width,
        use_linear_projection=use_linear_projection,
        norm_num_groups=4,
    )
    pipeline = StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, **_NOISE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return _ready(pipeline)


def _vae() -> AutoencoderKL:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        sample_size=SIZE,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        norm_num_groups=4,
    )


def _clip(tokenizer: CLIPTokenizer, *, width: int, activation: str) -> CLIPTextConfig:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=width // 8,
        max_position_embeddings=CONTEXT,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )


def _tokenizer() -> CLIPTokenizer:
    from transformers import CLIPTokenizer

    with tempfile.TemporaryDirectory() as folder:
        _write_vocabulary(Path(folder))
        return CLIPTokenizer.from_pretrained(folder, model_max_length=CONTEXT)


def _write_vocabulary(folder: Path) -> None:
    """CLIP's byte pair encoding with nothing learnt but `he`: a prompt is almost as many tokens as characters."""
    characters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    pieces = [*characters, *(f"{character}</w>" for character in characters)]
    pieces += ["he", "he</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\nh e\nh e</w>\n")


def _ready(pipeline: Any) -> Any:
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
