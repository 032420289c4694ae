"""Qwen-Image 2.1: diffusers' names are Alibaba's own (Qwen/Qwen-Image-2.1).

ComfyUI's checkpoints hold the gate and the other half of a feed-forward as one; it addresses its LoRAs to the halves.
"""

from loramerge.families.family import Card, Family, PublishedModel

_MODEL = "QwenImage21Transformer2DModel"

QWEN_IMAGE21 = Family(
    name="qwen_image21",
    title="Qwen-Image 2.1",
    classes=(_MODEL,),
    original=(),
    marks=("qwen_image_2.", "qwen-image-2.", "qwen_image21", "qwen_image_21"),
    published={"qwen-image-2.1": PublishedModel("Qwen/Qwen-Image-2.1", {"transformer": {"_class_name": _MODEL}})},
    kinds={
        "self-attention": r"\.attn\.",
        "feed-forward": r"\.img_mlp\.",
        "modulation": r"^modulation\.|^norm_out\.linear$",
    },
    card=Card("text-to-image", ("qwen-image",), guidance="true_cfg_scale", no_negative_prompt=" "),
)
