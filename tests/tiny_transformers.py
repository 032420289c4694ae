"""Pipelines of diffusion transformers with every structure of the real ones and next to no weights, built offline.

As in `tiny`: random but seeded, float32, in eval mode; a picture has 32×32 pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from families.models import built, config_of
from families.rows import ROWS
from safetensors.torch import save_file
from tiny import _clip, _ready, _root, _tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
    from transformers import PreTrainedModel, T5Tokenizer

    from loramerge.bases.component import Component

_TEXT_WIDTH = 24
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def flux() -> Any:
    """FLUX.1: CLIP's pooled output, T5, and guidance as a number."""
    from diffusers import FluxPipeline
    from transformers import CLIPTextModel

    tokenizer, tokenizer_2 = _tokenizer(), _t5_tokenizer()
    return FluxPipeline(
        scheduler=_scheduler(),
        vae=_vae(1),
        text_encoder=CLIPTextModel(_clip(tokenizer, width=_TEXT_WIDTH, activation="quick_gelu")),
        tokenizer=tokenizer,
        text_encoder_2=_t5(tokenizer_2),
        tokenizer_2=tokenizer_2,
        transformer=_transformer("flux"),
    )


def sd3() -> Any:
    """Stable Diffusion 3: two CLIPs with projections, and T5."""
    from diffusers import StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    tokenizer, tokenizer_3 = _tokenizer(), _t5_tokenizer()
    return StableDiffusion3Pipeline(
        scheduler=_scheduler(),
        vae=_vae(4),
        transformer=_transformer("sd3"),
        text_encoder=CLIPTextModelWithProjection(_clip(tokenizer, width=8, activation="quick_gelu")),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(_clip(tokenizer, width=8, activation="gelu")),
        tokenizer_2=_tokenizer(),
        text_encoder_3=_t5(tokenizer_3),
        tokenizer_3=tokenizer_3,
    )


def qwen_image() -> Any:
    """Qwen-Image: a language model that sees, and a VAE of videos."""
    from diffusers import AutoencoderKLQwenImage, QwenImagePipeline
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = _qwen_tokenizer()
    config = Qwen2_5_VLConfig(
        text_config=_language_model(len(tokenizer))
        | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": _TEXT_WIDTH,
        },
    )
    return QwenImagePipeline(
        scheduler=_scheduler(),
        vae=AutoencoderKLQwenImage(
            base_dim=4,
            z_dim=1,
            dim_mult=[1, 2],
            num_res_blocks=1,
            temperal_downsample=[False],
            latents_mean=[0.0],
            latents_std=[1.0],
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=tokenizer,
        transformer=_transformer("qwen_image"),
    )


def z_image() -> Any:
    """Z-Image: Qwen3, whose last layer but one is read."""
    from diffusers import ZImagePipeline
    from transformers import Qwen3Config, Qwen3Model

    tokenizer = _qwen_tokenizer()
    return ZImagePipeline(
        scheduler=_scheduler(),
        vae=_vae(4),
        text_encoder=Qwen3Model(Qwen3Config(**_language_model(len(tokenizer)) | {"hidden_size": 16, "head_dim": 8})),
        tokenizer=tokenizer,
        transformer=_transformer("z_image", axes_lens=(1024, 64, 64)),  # a token for each byte makes prompts long
    )


def wan(*, denoisers: int = 1) -> Any:
    """Wan 2.1, or Wan 2.2 with a denoiser for high noise and another for low."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline
    from transformers import UMT5Config, UMT5EncoderModel

    tokenizer = _t5_tokenizer()
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": len(tokenizer)}
    return WanPipeline(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(UMT5Config(**sizes)),
        vae=AutoencoderKLWan(
            base_dim=4,
            z_dim=4,
            dim_mult=[1, 2],
            num_res_blocks=1,
            temperal_downsample=[True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
            scale_factor_temporal=2,
            scale_factor_spatial=2,
        ),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        transformer=_transformer("wan"),
        transformer_2=_transformer("wan") if denoisers > 1 else None,
        boundary_ratio=0.875 if denoisers > 1 else None,
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "flux": flux,
    "sd3": sd3,
    "qwen_image": qwen_image,
    "z_image": z_image,
    "wan": wan,
    "wan-2.2": functools.partial(wan, denoisers=2),
}


def lora(path: Path, component: Component, seed: int) -> str:
    """A strong LoRA of a few layers, in diffusers' names of the first denoiser."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (out, *rest) in [*component.modules.items()][seed % 3 :: 3]:
        if len(rest) == 1:
            tensors[f"transformer.{name}.lora_A.weight"] = torch.randn(2, *rest, generator=generator)
            tensors[f"transformer.{name}.lora_B.weight"] = torch.randn(out, 2, generator=generator)
    save_file(tensors, path)
    return str(path)


@functools.cache
def folder(name: str) -> Path:
    """A saved pipeline, made once per process. Read-only by agreement: copy it to change it."""
    torch.manual_seed(0)
    place = _root() / name
    _ready(PIPELINES[name]()).save_pretrained(place)
    return place


def _transformer(family: str, **more: Any) -> Any:
    return built(config_of(next(row for row in ROWS if row.family == family)) | more)


def _scheduler() -> FlowMatchEulerDiscreteScheduler:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler()


def _vae(channels: int) -> AutoencoderKL:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        sample_size=32,
        block_out_channels=(4, 8),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=channels,
        norm_num_groups=2,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.5,
        shift_factor=0.1,
    )


def _t5(tokenizer: T5Tokenizer) -> PreTrainedModel:
    from transformers import T5Config, T5EncoderModel

    sizes = {"d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": len(tokenizer)}
    return T5EncoderModel(T5Config(d_model=_TEXT_WIDTH, **sizes))


def _t5_tokenizer() -> T5Tokenizer:
    """A piece for each character."""
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(code), -3.0) for code in range(ord("!"), ord("~") + 1)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)


def _qwen_tokenizer() -> Any:
    """A token for each byte."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    pieces = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(ByteLevel.alphabet())]
    tokenizer = Qwen2Tokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])
    tokenizer.chat_template = _CHAT
    return tokenizer


def _language_model(vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": _TEXT_WIDTH,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "max_position_embeddings": 2048,
    }
