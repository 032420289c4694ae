"""Kandinsky 3: LoRAs have diffusers' names (models/unets/unet_kandinsky3.py)."""

from loramerge.families.family import Card, Family

KANDINSKY3 = Family(
    name="kandinsky3",
    title="Kandinsky 3",
    classes=("Kandinsky3UNet",),
    denoisers=("unet",),
    card=Card("text-to-image", ("kandinsky-3",), loads="nothing"),
)
