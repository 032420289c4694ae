"""LTX-Video: Lightricks' names (ltx_video/models/transformers/transformer3d.py)."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import rules

_MODEL = "LTXVideoTransformer3DModel"

LTX = Family(
    name="ltx",
    title="LTX-Video",
    civitai="LTXV",
    classes=(_MODEL,),
    original=rules(
        {
            "patchify_proj": "proj_in",
            "adaln_single": "time_embed",
            **{
                f"transformer_blocks.*.{attention}.{each}_norm": f"transformer_blocks.*.{attention}.norm_{each}"
                for attention in ("attn1", "attn2")
                for each in "qk"
            },
        }
    ),
    published={
        "2b": PublishedModel("Lightricks/LTX-Video", {"transformer": {"_class_name": _MODEL}}),
        "13b": PublishedModel(
            "Lightricks/LTX-Video-0.9.7-dev",
            {
                "transformer": {
                    "_class_name": _MODEL,
                    "attention_head_dim": 128,
                    "cross_attention_dim": 4096,
                    "num_layers": 48,
                }
            },
        ),
    },
    card=Card("text-to-video", ("ltx-video",)),
)
