"""FramePack: HunyuanVideo's model in diffusers' own names (lllyasviel/FramePack, hunyuan_video_packed.py).

LoRAs for HunyuanVideo are loaded into it by the programs that run it, so their names are known here as well.
"""

from loramerge.families.clip import CLIP_L
from loramerge.families.family import Card, Family, PublishedModel, Specification
from loramerge.families.hunyuan_video import (
    HUNYUAN_KINDS,
    HUNYUAN_TEXT_ENCODERS,
    HUNYUAN_VIDEO_COMFYUI,
    HUNYUAN_VIDEO_RULES,
)

_MODEL = "HunyuanVideoFramepackTransformer3DModel"
_CONFIG = {"_class_name": _MODEL, "has_image_proj": True, "has_clean_x_embedder": True}
_CONFIGS = {"transformer": _CONFIG, "text_encoder_2": CLIP_L}
_PIPELINE = "HunyuanVideoFramepackPipeline"

FRAMEPACK = Family(
    name="framepack",
    title="FramePack",
    classes=(_MODEL,),
    original=HUNYUAN_VIDEO_RULES,
    comfyui=HUNYUAN_VIDEO_COMFYUI,
    flat_is_canonical=True,
    text_encoders=HUNYUAN_TEXT_ENCODERS,
    marks=("framepack",),
    published={
        "i2v": PublishedModel("lllyasviel/FramePackI2V_HY", _CONFIGS, _PIPELINE),
        "f1": PublishedModel("lllyasviel/FramePack_F1_I2V_HY_20250503", _CONFIGS, _PIPELINE),
    },
    kinds=HUNYUAN_KINDS,
    specification=Specification("framepack", "framepack", "1280x720", "https://github.com/lllyasviel/FramePack"),
    card=Card("image-to-video", ("framepack",)),
)
