"""Helios: made in diffusers' names (models/transformers/transformer_helios.py)."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.wan import WAN_KINDS

_MODEL = "HeliosTransformer3DModel"

HELIOS = Family(
    name="helios",
    title="Helios",
    classes=(_MODEL,),
    published={
        "14b": PublishedModel("BestWishYsh/Helios-Base", {"transformer": {"_class_name": _MODEL}}, "HeliosPipeline")
    },
    kinds=WAN_KINDS,
    card=Card("text-to-video", ("helios",)),
)
