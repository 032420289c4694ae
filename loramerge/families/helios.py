"""Helios: made in diffusers' names (models/transformers/transformer_helios.py)."""

from loramerge.families.family import Card, Family
from loramerge.families.wan import WAN_KINDS

HELIOS = Family(
    name="helios",
    title="Helios",
    classes=("HeliosTransformer3DModel",),
    kinds=WAN_KINDS,
    card=Card("text-to-video", ("helios",)),
)
