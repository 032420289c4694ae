"""HiDream-I1: HiDream's names (hi_diffusers/models/transformers/transformer_hidream_image.py) are diffusers'."""

from loramerge.families.family import Card, Family, PublishedModel, TextEncoder

_MODEL = "HiDreamImageTransformer2DModel"
_LLAMA_LAYERS = 32
_SIZES = {
    "_class_name": _MODEL,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "caption_channels": (4096, 4096),
    "axes_dims_rope": (64, 32, 32),
    # One layer of the language model for each block: all of them, then the last one again and again.
    "llama_layers": (*range(_LLAMA_LAYERS), *[_LLAMA_LAYERS - 1] * 16),
}

HIDREAM = Family(
    name="hidream",
    title="HiDream-I1",
    civitai="HiDream",
    classes=(_MODEL,),
    original=(),
    diffusers_in_comfyui=True,
    text_encoders={
        "text_encoder": TextEncoder(("lora_te1_",), "clip_l"),
        "text_encoder_2": TextEncoder(("lora_te2_",), "clip_g"),
        "text_encoder_3": TextEncoder(("lora_te3_",), "t5xxl"),
        "text_encoder_4": TextEncoder(("lora_te4_",), "llama"),
    },
    marks=("hidream_i1",),
    published={
        "full": PublishedModel("HiDream-ai/HiDream-I1-Full", {"transformer": _SIZES}),
        "dev": PublishedModel("HiDream-ai/HiDream-I1-Dev", {"transformer": _SIZES}),
        "fast": PublishedModel("HiDream-ai/HiDream-I1-Fast", {"transformer": _SIZES}),
    },
    kinds={"feed-forward": r"\.ff_[it]\."},
    card=Card("text-to-image", ("hidream",)),
)
