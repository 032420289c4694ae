"""Sizes of published models, against what other projects that run them say.

Each entry is all that makes the sizes of a model, from a place that has nothing to do with our data:

- `sd3`: configs of Tenstorrent's runtime, which does without the gated repositories, and of a trainer of SD 3 medium;
- `hunyuan_image`: diffusers' script that made the published files (convert_hunyuan_image_to_diffusers.py);
- `framepack`: diffusion-pipe's loader;
- `lumina2`: Alpha-VLLM's `NextDiT_2B_GQA_patch2_Adaln_Refiner`, behind Gemma 2 2B, 2304 numbers wide;
- `skyreels_v2`: diffusers' script (convert_skyreelsv2_to_diffusers.py). It has the models for text as diffusion-forcing
  ones, whose layers are the same; of image-to-video in the small size only xDiT says that it has twelve heads;
- `chronoedit`: the `net.py` and `wan2pt1.py` of NVIDIA's own repository, which trained it;
- `helios`: what its authors train from, the model for text of Wan 2.1 in 14B, and their settings of what they add;
- `bria_fibo`: mflux' `FiboTransformer`;
- `ernie_image`: ComfyUI's class (comfy/ldm/ernie/model.py), and an MLX port's copy of Baidu's config.json.
"""

from __future__ import annotations

import pytest
from families.models import layers_of

from loramerge.families import FAMILIES

pytestmark = pytest.mark.slow

_SD3 = {
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
}
_SD3_MEDIUM = {**_SD3, "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536}
_HUNYUAN_IMAGE = {
    "in_channels": 64,
    "out_channels": 64,
    "num_attention_heads": 28,
    "attention_head_dim": 128,
    "num_layers": 20,
    "num_single_layers": 40,
    "num_refiner_layers": 2,
    "patch_size": (1, 1),
    "text_embed_dim": 3584,
    "text_embed_2_dim": 1472,
    "rope_axes_dim": (64, 64),
}
_SKYREELS = {
    "patch_size": (1, 2, 2),
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
}
_SKYREELS_14B = {**_SKYREELS, "num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824}
_WAN_14B = _SKYREELS_14B  # as Wan-Video says in wan_t2v_14B.py
_ERNIE = {
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_layers": 36,
    "ffn_hidden_size": 12288,
    "in_channels": 128,
    "out_channels": 128,
    "patch_size": 1,
    "text_in_dim": 3072,
    "rope_axes_dim": (32, 48, 48),
}
ELSEWHERE = {
    "sd3/medium": {**_SD3_MEDIUM, "pos_embed_max_size": 192},
    "sd3/3.5-medium": {
        **_SD3_MEDIUM,
        "pos_embed_max_size": 384,
        "dual_attention_layers": tuple(range(13)),
        "qk_norm": "rms_norm",
    },
    "sd3/3.5-large": {
        **_SD3,
        "num_layers": 38,
        "num_attention_heads": 38,
        "caption_projection_dim": 2432,
        "pos_embed_max_size": 192,
        "qk_norm": "rms_norm",
    },
    "hunyuan_image/2.1": _HUNYUAN_IMAGE,
    "hunyuan_image/2.1-distilled": {**_HUNYUAN_IMAGE, "guidance_embeds": True, "use_meanflow": True},
    "hunyuan_image/2.1-refiner": {
        "in_channels": 128,
        "out_channels": 64,
        "num_layers": 20,
        "num_single_layers": 40,
        "rope_axes_dim": (16, 56, 56),
        "num_attention_heads": 26,
        "attention_head_dim": 128,
        "mlp_ratio": 4,
        "patch_size": (1, 1, 1),
        "text_embed_dim": 3584,
        "guidance_embeds": True,
    },
    "framepack/i2v": {
        "attention_head_dim": 128,
        "guidance_embeds": True,
        "has_clean_x_embedder": True,
        "has_image_proj": True,
        "image_proj_dim": 1152,
        "in_channels": 16,
        "mlp_ratio": 4.0,
        "num_attention_heads": 24,
        "num_layers": 20,
        "num_refiner_layers": 2,
        "num_single_layers": 40,
        "out_channels": 16,
        "patch_size": 2,
        "patch_size_t": 1,
        "pooled_projection_dim": 768,
        "rope_axes_dim": (16, 56, 56),
        "text_embed_dim": 4096,
    },
    "lumina2/2b": {
        "patch_size": 2,
        "in_channels": 16,
        "hidden_size": 2304,
        "num_layers": 26,
        "num_attention_heads": 24,
        "num_kv_heads": 8,
        "axes_dim_rope": (32, 32, 32),
        "cap_feat_dim": 2304,
    },
    "skyreels_v2/14b": _SKYREELS_14B,
    "skyreels_v2/df-1.3b": {
        **_SKYREELS,
        "num_attention_heads": 12,
        "num_layers": 30,
        "ffn_dim": 8960,
        "inject_sample_info": True,
    },
    "skyreels_v2/i2v-14b": {**_SKYREELS_14B, "in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120},
    "chronoedit/14b": {**_WAN_14B, "in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120},
    "helios/14b": {
        **_WAN_14B,
        "has_multi_term_memory_patch": True,
        "zero_history_timestep": True,
        "guidance_cross_attn": True,
        "is_amplify_history": False,
    },
    "bria_fibo/fibo": {
        "in_channels": 48,
        "num_layers": 8,
        "num_single_layers": 38,
        "num_attention_heads": 24,
        "attention_head_dim": 128,
        "joint_attention_dim": 4096,
        "text_encoder_dim": 2048,
    },
    "ernie_image/base": _ERNIE,
    "ernie_image/turbo": _ERNIE,
}


@pytest.mark.parametrize("model", ELSEWHERE)
def test_others_say_the_same(model):
    name, size = model.split("/")
    family = FAMILIES[name]
    said = {"_class_name": family.classes[0], **ELSEWHERE[model]}
    assert layers_of(family.published[size].configs["transformer"]) == layers_of(said)
