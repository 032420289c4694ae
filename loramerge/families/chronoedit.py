"""ChronoEdit: a fine-tuned Wan with Wan's names (diffusers, loaders/single_file_utils.py)."""

from loramerge.families.family import Card, Family
from loramerge.families.layout import rules
from loramerge.families.wan import WAN_KINDS, WAN_NAMES

CHRONOEDIT = Family(
    name="chronoedit",
    title="ChronoEdit",
    classes=("ChronoEditTransformer3DModel",),
    original=rules(WAN_NAMES),
    kinds=WAN_KINDS,
    card=Card("image-to-image", ("chronoedit",)),
)
