"""aMUSEd: LoRAs have diffusers' names (models/unets/uvit_2d.py)."""

from loramerge.families.family import Card, Family

AMUSED = Family(
    name="amused",
    title="aMUSEd",
    classes=("UVit2DModel",),
    card=Card("text-to-image", ("amused",), loads="model"),
)
