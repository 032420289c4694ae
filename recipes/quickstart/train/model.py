"""The miniature itself: a StableDiffusionXLPipeline with everything that SDXL has, a thousand times smaller."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.bases.component import CLIP_PREFIX, canonical
from loramerge.tensor_files import safetensors as tensors
from loramerge.tensor_files.planned import Planned
from train.scenes import SIZE, WORDS

if TYPE_CHECKING:
    from train.settings import Settings


def build(folder: Path, settings: Settings) -> Any:
    """The pipeline before training, float32; its tokenizers are written to `folder`, where transformers reads them."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(settings.seed)
    tokenizers = [_tokenizer(folder / name, settings.tokens) for name in ("tokenizer", "tokenizer_2")]
    texts = [
        _text_config(len(tokenizers[0]), width, activation, settings.tokens)
        for width, activation in zip(settings.text_widths, ("quick_gelu", "gelu"), strict=True)
    ]
    return StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            sample_size=SIZE,
            block_out_channels=settings.vae_widths,
            layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * len(settings.vae_widths),
            up_block_types=("UpDecoderBlock2D",) * len(settings.vae_widths),
            latent_channels=4,
            norm_num_groups=settings.vae_groups,
            force_upcast=False,
        ),
        text_encoder=CLIPTextModel(texts[0]),
        text_encoder_2=CLIPTextModelWithProjection(texts[1]),
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=UNet2DConditionModel(
            sample_size=SIZE >> (len(settings.vae_widths) - 1),
            block_out_channels=settings.unet_widths,
            layers_per_block=settings.unet_layers,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4, 4),
            transformer_layers_per_block=(1, 1, 1),
            cross_attention_dim=sum(settings.text_widths),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + settings.text_widths[1],
            norm_num_groups=settings.unet_groups,
        ),
        # From noise alone, to the picture alone: without a signal-to-noise ratio of zero at the start no LoRA could
        # make a bright ground dark.
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        ),
        add_watermarker=False,
    )


def load(folder: Path) -> Any:
    """What `save` wrote, float32, without progress bars."""
    import torch
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save(pipeline: Any, folder: Path) -> None:
    """Write configs and float16 weights under the names that published pipelines have, the same to the byte."""
    folder.mkdir(parents=True, exist_ok=True)
    pipeline.save_config(folder)
    for name, component in pipeline.components.items():
        if name.startswith(("unet", "vae", "scheduler")):
            component.save_config(folder / name)
        if name.startswith("text_encoder"):
            component.config.architectures = [type(component).__name__]
            component.config.save_pretrained(folder / name)
        if name.startswith(("unet", "vae", "text_encoder")):
            prefix = CLIP_PREFIX if name.startswith("text_encoder") else ""
            weights = [
                Planned.of(canonical(key, prefix), value.half()) for key, value in component.state_dict().items()
            ]
            file = "model" if name.startswith("text_encoder") else "diffusion_pytorch_model"
            tensors.write(folder / name / f"{file}.safetensors", weights, {"format": "pt"})
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            read = json.loads(path.read_text(encoding="utf-8"))
            read.pop("_name_or_path", None)  # where it was loaded from, on the machine where it was made
            _write_json(path, read)
        if path.is_file():
            path.chmod(0o644)


def _text_config(vocabulary: int, width: int, activation: str, tokens: int) -> Any:
    """CLIP's text encoder with two layers."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokens,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def _tokenizer(folder: Path, length: int) -> Any:
    """CLIP's byte pair encoding whose pairs make one token of each word that it was shown, letters of any other."""
    from transformers import CLIPTokenizer

    characters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    tokens = dict.fromkeys([*characters, *(f"{character}</w>" for character in characters)])
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        begun, *rest = _parts(word, merges)
        for part in rest:
            merges.append((begun, part))
            begun += part
            tokens[begun] = None
    vocabulary = [*tokens, "<|startoftext|>", "<|endoftext|>"]
    special = {"bos_token": vocabulary[-2], "eos_token": vocabulary[-1]}
    special |= {"pad_token": vocabulary[-1], "unk_token": vocabulary[-1]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges), ""]), encoding="utf-8")
    _write_json(folder / "vocab.json", {token: number for number, token in enumerate(vocabulary)})
    _write_json(folder / "special_tokens_map.json", special)
    settings = {"model_max_length": length, "tokenizer_class": "CLIPTokenizer"}
    _write_json(folder / "tokenizer_config.json", special | settings)
    return CLIPTokenizer.from_pretrained(folder)


def _parts(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """What the pairs that were learnt so far make of a word: always the pair that was learnt first."""
    parts = [*word[:-1], f"{word[-1]}</w>"]
    while found := [merges.index(pair) for pair in itertools.pairwise(parts) if pair in merges]:
        pair = merges[min(found)]
        place = list(itertools.pairwise(parts)).index(pair)
        parts[place : place + 2] = ["".join(pair)]
    return parts


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
