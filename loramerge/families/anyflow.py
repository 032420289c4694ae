"""AnyFlow: NVIDIA's few-step Wan, made in diffusers' names (diffusers, scripts/convert_anyflow_to_diffusers.py)."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.wan import WAN_1_3B, WAN_KINDS

_MODEL = "AnyFlowTransformer3DModel"
_CAUSAL = "AnyFlowFARTransformer3DModel"

ANYFLOW = Family(
    name="anyflow",
    title="AnyFlow",
    classes=(_MODEL, _CAUSAL),
    published={
        "14b": PublishedModel("nvidia/AnyFlow-Wan2.1-T2V-14B-Diffusers", {"transformer": {"_class_name": _MODEL}}),
        "1.3b": PublishedModel(
            "nvidia/AnyFlow-Wan2.1-T2V-1.3B-Diffusers", {"transformer": {"_class_name": _MODEL, **WAN_1_3B}}
        ),
        "far-14b": PublishedModel("nvidia/AnyFlow-FAR-Wan2.1-14B-Diffusers", {"transformer": {"_class_name": _CAUSAL}}),
        "far-1.3b": PublishedModel(
            "nvidia/AnyFlow-FAR-Wan2.1-1.3B-Diffusers", {"transformer": {"_class_name": _CAUSAL, **WAN_1_3B}}
        ),
    },
    kinds=WAN_KINDS,
    card=Card("text-to-video", ("anyflow",)),
)
