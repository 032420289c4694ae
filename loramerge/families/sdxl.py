"""Stable Diffusion XL (Stability AI, sgm/modules/diffusionmodules/openaimodel.py)."""

from loramerge.families.clip import CLIP_L, OPENCLIP, OPENCLIP_G, OPENCLIP_TRANSPOSED
from loramerge.families.family import Card, Family, PublishedModel, Specification, TextEncoder
from loramerge.families.sgm import unet_rules
from loramerge.families.unet import CROSS_DOWN, CROSS_UP, DOWN, UNET, UP, draws_from_clip_and_size

SDXL = Family(
    name="sdxl",
    title="Stable Diffusion XL",
    civitai="SDXL 1.0",
    classes=(UNET,),
    denoisers=("unet",),
    is_this=draws_from_clip_and_size,
    original=unet_rules,
    loadable=("text_encoder", "text_encoder_2"),
    text_encoders={
        "text_encoder": TextEncoder(
            ("lora_te1_", "lora_te_"), "clip_l", checkpoint="conditioner.embedders.0.transformer."
        ),
        "text_encoder_2": TextEncoder(
            ("lora_te2_",),
            "clip_g",
            checkpoint="conditioner.embedders.1.model.",
            original=OPENCLIP,
            transposed=OPENCLIP_TRANSPOSED,
        ),
    },
    marks=("sdxl", "stable-diffusion-xl"),
    published={
        "base": PublishedModel(
            "stabilityai/stable-diffusion-xl-base-1.0",
            {
                "unet": {
                    "_class_name": UNET,
                    "block_out_channels": (320, 640, 1280),
                    "down_block_types": (DOWN, *[CROSS_DOWN] * 2),
                    "up_block_types": (*[CROSS_UP] * 2, UP),
                    "transformer_layers_per_block": (1, 2, 10),
                    "attention_head_dim": (5, 10, 20),
                    "cross_attention_dim": 2048,
                    "use_linear_projection": True,
                    "addition_embed_type": "text_time",
                    "addition_time_embed_dim": 256,
                    "projection_class_embeddings_input_dim": 2816,
                },
                "text_encoder": CLIP_L,
                "text_encoder_2": OPENCLIP_G,
            },
        )
    },
    specification=Specification(
        "stable-diffusion-xl-v1-base",
        "sdxl_base_v1-0",
        "1024x1024",
        "https://github.com/Stability-AI/generative-models",
    ),
    card=Card(
        "text-to-image", ("stable-diffusion-xl",), opens_file="StableDiffusionXLPipeline", webuis=("A1111", "Forge")
    ),
)
