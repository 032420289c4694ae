"""Qwen-Image, to edit and in layers as well: diffusers' names are Alibaba's own (QwenLM/Qwen-Image)."""

from loramerge.families.family import Card, Family, PublishedModel, Specification, TextEncoder
from loramerge.families.llama import WITH_PICTURES

_MODEL = "QwenImageTransformer2DModel"

QWEN_IMAGE = Family(
    name="qwen_image",
    title="Qwen-Image",
    civitai="Qwen",
    classes=(_MODEL,),
    original=(),
    diffusers_in_comfyui=True,
    text_encoders={"text_encoder": TextEncoder((), "qwen25_7b", WITH_PICTURES)},
    marks=("qwen_image", "qwen-image"),
    published={
        "qwen-image": PublishedModel("Qwen/Qwen-Image", {"transformer": {"_class_name": _MODEL}}),
        "edit": PublishedModel(
            "Qwen/Qwen-Image-Edit-2509", {"transformer": {"_class_name": _MODEL}}, "QwenImageEditPlusPipeline"
        ),
        "layered": PublishedModel(
            "Qwen/Qwen-Image-Layered",
            {"transformer": {"_class_name": _MODEL, "use_additional_t_cond": True}},
            "QwenImageLayeredPipeline",
        ),
    },
    kinds={
        "self-attention": r"\.attn\.",
        "feed-forward": r"\.(img|txt)_mlp\.",
        "modulation": r"\.(img|txt)_mod\.|^norm_out\.linear$",
    },
    specification=Specification("Qwen-Image", "qwen_image", "1328x1328", "https://github.com/QwenLM/Qwen-Image"),
    card=Card("text-to-image", ("qwen-image",), guidance="true_cfg_scale", no_negative_prompt=" "),
)
