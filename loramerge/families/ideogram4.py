"""Ideogram 4: diffusers' names but for attention (musubi-tuner, ideogram4/ideogram4_model.py)."""

from loramerge.families.family import Card, Family, PublishedModel, Specification
from loramerge.families.layout import QKV, each, rules

_MODEL = "Ideogram4Transformer2DModel"
_ATTENTION = "layers.*.attention."

IDEOGRAM4 = Family(
    name="ideogram4",
    title="Ideogram 4",
    civitai="Ideogram 4.0",
    classes=(_MODEL,),
    original=rules({f"{_ATTENTION}qkv": each(_ATTENTION, QKV), f"{_ATTENTION}o": f"{_ATTENTION}to_out.0"}),
    marks=("ideogram4", "ideogram-4"),
    published={"v4": PublishedModel("ideogram-ai/ideogram-v4", {"transformer": {"_class_name": _MODEL}})},
    kinds={"self-attention": r"\.attention\.", "feed-forward": r"\.feed_forward\."},
    specification=Specification("Ideogram-4", "ideogram4", "1024x1024", "https://huggingface.co/Comfy-Org/Ideogram-4"),
    card=Card("text-to-image", ("ideogram-4",)),
)
