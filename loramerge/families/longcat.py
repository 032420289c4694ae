"""LongCat-Image: its LoRAs are known in diffusers' names alone (meituan-longcat/LongCat-Image)."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.flux import FLUX_KINDS

_MODEL = "LongCatImageTransformer2DModel"

LONGCAT = Family(
    name="longcat",
    title="LongCat-Image",
    classes=(_MODEL,),
    marks=("longcat",),
    published={
        "image": PublishedModel("meituan-longcat/LongCat-Image", {"transformer": {"_class_name": _MODEL}}),
        "edit": PublishedModel(
            "meituan-longcat/LongCat-Image-Edit", {"transformer": {"_class_name": _MODEL}}, "LongCatImageEditPipeline"
        ),
    },
    kinds=FLUX_KINDS,
    card=Card("text-to-image", ("longcat-image",), loads="model"),
)
