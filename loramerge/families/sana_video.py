"""Sana-Video: NVIDIA's names (diffusion/model/nets/sana_multi_scale_video.py)."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import rules
from loramerge.families.sana import SANA_NAMES, TIME_NAMES

_MODEL = "SanaVideoTransformer3DModel"

SANA_VIDEO = Family(
    name="sana_video",
    title="Sana-Video",
    classes=(_MODEL,),
    original=rules(
        {
            **{original: canonical for original, canonical in SANA_NAMES.items() if original != "x_embedder"},
            **TIME_NAMES,
            "x_embedder.proj": "patch_embedding",
            "blocks.*.mlp.t_conv": "transformer_blocks.*.ff.conv_temp",
        }
    ),
    published={
        "2b-480p": PublishedModel(
            "Efficient-Large-Model/SANA-Video_2B_480p_diffusers",
            {"transformer": {"_class_name": _MODEL, "mlp_ratio": 3.0}},
        )
    },
    card=Card("text-to-video", ("sana",)),
)
