"""Bria FIBO 2: its LoRAs are known in diffusers' names alone (briaai/Fibo-2.0-dev)."""

from loramerge.families.family import Card, Family, PublishedModel

_MODEL = "BriaFibo2Transformer2DModel"

BRIA_FIBO2 = Family(
    name="bria_fibo2",
    title="Bria FIBO 2",
    classes=(_MODEL,),
    marks=("fibo2", "fibo-2", "bria_fibo2", "bria-fibo2"),
    published={"dev": PublishedModel("briaai/Fibo-2.0-dev", {"transformer": {"_class_name": _MODEL}})},
    kinds={
        "self-attention": r"\.(attention|self_attention)\.",
        "cross-attention": r"\.cross_attention\.",
        "feed-forward": r"\.(feed_forward|ffn)\.",
        "modulation": r"\.adaLN_modulation\.",
    },
    card=Card("text-to-image", ("fibo",)),
)
