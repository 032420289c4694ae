"""What a LoRA looks like that fits no published size of any family: told by the names of its modules alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What is found in a flat name → the families that have such names. The first row that fits any name counts, so rows
# that tell one family come before those that tell several.
_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"distilled_guidance_layer", ("Chroma",)),
    (r"mode_blocks_", ("FLUX.3",)),
    (r"(double|single)_stream_modulation|attn_to_qkv_mlp_proj|blocks_\d+_ff(_context)?_linear_(in|out)", ("FLUX.2",)),
    (r"transformer_blocks_\d+_adaln_proj", ("MiniMax-H3",)),
    (r"token_refiner|double_blocks_\d+_(img|txt)_(mlp_fc|mod_linear)", ("HunyuanVideo", "HunyuanImage")),
    (r"(double|single)_blocks_\d", ("FLUX.1", "FLUX.2", "Chroma", "HunyuanVideo")),
    (r"joint_blocks_\d", ("Stable Diffusion 3",)),
    (r"joint_transformer_blocks_\d", ("AuraFlow",)),
    (r"(visual|text)_transformer_blocks_\d", ("Kandinsky 5",)),
    (r"transformer_blocks_\d+_(img|txt)_(mlp|mod)", ("Qwen-Image",)),
    (r"text_?fusion|txtfusion|blocks_\d+_attn_(to_gate|w[qkvo])", ("Krea 2",)),
    (r"audio_attn|audio_to_video_attn|video_to_audio_attn", ("LTX-2",)),
    (r"single_transformer_blocks_\d", ("FLUX.1", "Chroma", "HunyuanVideo", "AuraFlow", "LongCat-Image", "Bria FIBO")),
    (r"transformer_blocks_\d+_attn1_(add_[qkv]_proj|to_add_out)", ("Mochi",)),
    (r"transformer_blocks_\d+_(attn_|ff_context_|norm\d_context_)",
     ("Stable Diffusion 3", "FLUX.1", "FLUX.2", "Chroma", "HunyuanVideo", "Qwen-Image")),
    (r"vace_blocks_\d", ("Wan VACE",)),
    (r"blocks_\d+_(self|cross)_attn_([qkvo]$|[kv]_img)|blocks_\d+_ffn_\d|(?<!transformer_)blocks_\d+_attn[12]_",
     ("Wan",)),
    (r"llm_adapter|blocks_\d+_(self|cross)_attn_(q|k|v|output)_proj|blocks_\d+_mlp_layer", ("Anima", "Cosmos")),
    (r"(noise|context)_refiner_\d", ("Z-Image", "Lumina 2", "Bria FIBO 2")),
    (r"(^|_)layers_\d+_(attention|adaln_modulation)_", ("Z-Image", "Lumina 2", "Ideogram 4", "Bria FIBO 2")),
    (r"(^|_)layers_\d+_(self|cross)_att(n|ention)_to_[qkv]", ("ERNIE-Image", "ACE-Step")),
    (r"temporal_transformer_blocks_\d", ("Stable Video Diffusion",)),
    (r"motion_modules_\d", ("AnimateDiff",)),
    (r"(?<!\d_)transformer_blocks_\d+_attn[12]_",
     ("LTX-Video", "PixArt", "Sana", "CogVideoX", "CogView 4", "Cosmos", "Mochi")),
    (r"^(lora_)?prior_", ("Stable Cascade",)),
    (r"encoder_attn_|(^|(?<!text)_)model_encoder_layers_\d", ("Whisper", "BART")),
    (r"SelfAttention|EncDecAttention|DenseReluDense", ("T5",)),
    (r"encoder_layer_\d+_(attention|intermediate|output)_", ("BERT", "RoBERTa", "ViT")),
    (r"(^|_)h_\d+_(attn|mlp)_c_", ("GPT-2",)),
    (r"(^|(?<!encoder)_)layers_\d+_(self_attn|mlp)_(q|k|v|o|gate|up|down)_proj",
     ("a language model such as Llama, Qwen, Mistral or Gemma",)),
)  # fmt: skip


def strangers(names: Iterable[str]) -> tuple[str, ...]:
    """The families that modules of these names may be of, as titles; empty where the names tell nothing.

    Args:
        names: Dotted or flat, with or without a prefix.
    """
    flat = "\n".join(name.replace(".", "_") for name in names)
    return next((titles for sign, titles in _SIGNS if re.search(sign, flat, re.MULTILINE)), ())
