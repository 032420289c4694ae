"""Bria FIBO: its LoRAs are known in diffusers' names alone (briaai/FIBO)."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.flux import FLUX_KINDS

_MODEL = "BriaFiboTransformer2DModel"

BRIA_FIBO = Family(
    name="bria_fibo",
    title="Bria FIBO",
    classes=(_MODEL,),
    marks=("fibo", "bria_fibo", "bria-fibo"),
    published={
        "fibo": PublishedModel(
            "briaai/FIBO", {"transformer": {"_class_name": _MODEL, "in_channels": 48, "num_layers": 8}}
        )
    },
    kinds=FLUX_KINDS,
    card=Card("text-to-image", ("fibo",)),
)
