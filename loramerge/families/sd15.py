"""Stable Diffusion 1.5 (CompVis, ldm/modules/diffusionmodules/openaimodel.py)."""

from types import MappingProxyType

from loramerge.families.clip import CLIP_L
from loramerge.families.family import Card, Family, PublishedModel, Specification, TextEncoder
from loramerge.families.sgm import unet_rules
from loramerge.families.unet import CROSS_DOWN, CROSS_UP, DOWN, UNET, UP, draws_from_clip

SD_UNET = MappingProxyType(
    {
        "_class_name": UNET,
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": (*[CROSS_DOWN] * 3, DOWN),
        "up_block_types": (UP, *[CROSS_UP] * 3),
    }
)
"""What Stable Diffusion 1 and 2 have in common."""

SD15 = Family(
    name="sd15",
    title="Stable Diffusion 1.5",
    civitai="SD 1.5",
    classes=(UNET,),
    denoisers=("unet",),
    is_this=lambda config: draws_from_clip(config) and not config.get("use_linear_projection"),
    original=unet_rules,
    flat_is_canonical=True,
    loadable=("text_encoder",),
    text_encoders={
        "text_encoder": TextEncoder(("lora_te_", "lora_te1_"), "clip_l", checkpoint="cond_stage_model.transformer.")
    },
    marks=("sd_v1", "stable-diffusion-v1"),
    published={
        "v1.5": PublishedModel(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            {"unet": {**SD_UNET, "attention_head_dim": 8, "cross_attention_dim": 768}, "text_encoder": CLIP_L},
        )
    },
    specification=Specification(
        "stable-diffusion-v1", "sd_v1", "512x512", "https://github.com/Stability-AI/generative-models"
    ),
    card=Card("text-to-image", ("stable-diffusion",), opens_file="StableDiffusionPipeline", webuis=("A1111", "Forge")),
)
