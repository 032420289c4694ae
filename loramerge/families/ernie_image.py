"""ERNIE-Image: Baidu's names are diffusers' (diffusers, loaders/single_file_utils.py)."""

from loramerge.families.family import Card, Family

ERNIE_IMAGE = Family(
    name="ernie_image",
    title="ERNIE-Image",
    classes=("ErnieImageTransformer2DModel",),
    original=(),
    marks=("ernie_image",),
    kinds={"self-attention": r"\.self_attention\."},
    card=Card("text-to-image", ("ernie-image",)),
)
