"""ChronoEdit: a fine-tuned Wan with Wan's names (diffusers, loaders/single_file_utils.py)."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import rules
from loramerge.families.wan import WAN_IMAGE, WAN_KINDS, WAN_NAMES

_MODEL = "ChronoEditTransformer3DModel"

CHRONOEDIT = Family(
    name="chronoedit",
    title="ChronoEdit",
    classes=(_MODEL,),
    original=rules(WAN_NAMES),
    published={
        "14b": PublishedModel(
            "nvidia/ChronoEdit-14B-Diffusers",
            {"transformer": {"_class_name": _MODEL, **WAN_IMAGE, "added_kv_proj_dim": 5120}},
            "ChronoEditPipeline",
        ),
    },
    kinds=WAN_KINDS,
    card=Card("image-to-image", ("chronoedit",)),
)
