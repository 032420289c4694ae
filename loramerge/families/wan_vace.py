"""Wan VACE: Alibaba's names (wan/modules/vace_model.py)."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import rules
from loramerge.families.wan import WAN_1_3B, WAN_KINDS, WAN_NAMES, block_names

_MODEL = "WanVACETransformer3DModel"

WAN_VACE = Family(
    name="wan_vace",
    title="Wan VACE",
    classes=(_MODEL,),
    denoisers=("transformer", "transformer_2"),
    original=rules(
        {
            **WAN_NAMES,
            **block_names("vace_blocks.*"),
            "vace_blocks.*.before_proj": "vace_blocks.*.proj_in",
            "vace_blocks.*.after_proj": "vace_blocks.*.proj_out",
        }
    ),
    marks=("wan_2.1_vace", "wan_vace"),
    published={
        "14b": PublishedModel("Wan-AI/Wan2.1-VACE-14B-diffusers", {"transformer": {"_class_name": _MODEL}}),
        "1.3b": PublishedModel(
            "Wan-AI/Wan2.1-VACE-1.3B-diffusers",
            {"transformer": {"_class_name": _MODEL, **WAN_1_3B, "vace_layers": tuple(range(0, 30, 2))}},
        ),
    },
    kinds=WAN_KINDS,
    card=Card("text-to-video", ("wan", "vace")),
    files={"transformer": "high_noise", "transformer_2": "low_noise"},
)
