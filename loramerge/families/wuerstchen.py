"""Würstchen: LoRAs of its prior have diffusers' names (pipelines/wuerstchen/modeling_wuerstchen_prior.py)."""

from loramerge.families.family import Card, Family

WUERSTCHEN = Family(
    name="wuerstchen",
    title="Wuerstchen",
    classes=("WuerstchenPrior",),
    denoisers=("prior",),
    card=Card("text-to-image", ("wuerstchen",), loads="nothing"),
)
