"""SkyReels V2: Skywork's names (skyreels_v2_infer/modules/transformer.py), which are Wan's."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import rules
from loramerge.families.wan import WAN_1_3B, WAN_IMAGE, WAN_KINDS, WAN_NAMES

_MODEL = "SkyReelsV2Transformer3DModel"
_14B = {"_class_name": _MODEL, "num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824}
_1_3B = {"_class_name": _MODEL, **WAN_1_3B}

SKYREELS_V2 = Family(
    name="skyreels_v2",
    title="SkyReels V2",
    classes=(_MODEL,),
    original=rules(
        {
            **WAN_NAMES,
            "fps_projection.0": "fps_projection.net.0.proj",
            "fps_projection.2": "fps_projection.net.2",
        }
    ),
    published={
        "14b": PublishedModel("Skywork/SkyReels-V2-T2V-14B-540P-Diffusers", {"transformer": _14B}),
        "df-1.3b": PublishedModel(
            "Skywork/SkyReels-V2-DF-1.3B-540P-Diffusers", {"transformer": {**_1_3B, "inject_sample_info": True}}
        ),
        "i2v-14b": PublishedModel(
            "Skywork/SkyReels-V2-I2V-14B-540P-Diffusers",
            {"transformer": {**_14B, **WAN_IMAGE, "added_kv_proj_dim": 5120}},
            "SkyReelsV2ImageToVideoPipeline",
        ),
        "i2v-1.3b": PublishedModel(
            "Skywork/SkyReels-V2-I2V-1.3B-540P-Diffusers",
            {"transformer": {**_1_3B, **WAN_IMAGE, "added_kv_proj_dim": 1536}},
            "SkyReelsV2ImageToVideoPipeline",
        ),
    },
    kinds=WAN_KINDS,
    card=Card("text-to-video", ("skyreels",)),
)
