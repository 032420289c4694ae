"""Kandinsky 3: LoRAs have diffusers' names (models/unets/unet_kandinsky3.py)."""

from loramerge.families.family import Card, Family, Published

_MODEL = "Kandinsky3UNet"

KANDINSKY3 = Family(
    name="kandinsky3",
    title="Kandinsky 3",
    classes=(_MODEL,),
    denoisers=("unet",),
    published={"3": Published("kandinsky-community/kandinsky-3", {"unet": {"_class_name": _MODEL}})},
    card=Card("text-to-image", ("kandinsky-3",)),
)
