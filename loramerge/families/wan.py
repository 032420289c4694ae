"""Wan 2.1 and 2.2: Alibaba's names (wan/modules/model.py)."""

from collections.abc import Mapping
from types import MappingProxyType

from loramerge.families.family import Card, Family, PublishedModel, Specification
from loramerge.families.layout import rules

_MODEL = "WanTransformer3DModel"
_CONDITION = "condition_embedder."
_IMAGE = f"{_CONDITION}image_embedder."
WAN_KINDS = MappingProxyType({"feed-forward": r"\.ffn\."})
WAN_1_3B = MappingProxyType({"num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960})
"""What makes the small size of every model of the Wan kind."""
WAN_IMAGE = MappingProxyType({"in_channels": 36, "image_dim": 1280})
"""What Wan 2.1 and its likes add to see an image; the width of its keys and values is the model's own."""


def block_names(block: str) -> Mapping[str, str]:
    """Original name → canonical name in the blocks of Wan.

    Args:
        block: What both layouts call a block, `blocks.*`.
    """
    attentions = {
        f"{block}.{original}{there}": f"{block}.{canonical}{here}"
        for original, canonical in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for there, here in (("", ""), (".q", ".to_q"), (".k", ".to_k"), (".v", ".to_v"), (".o", ".to_out.0"))
    }
    return {
        **attentions,
        f"{block}.cross_attn.k_img": f"{block}.attn2.add_k_proj",
        f"{block}.cross_attn.v_img": f"{block}.attn2.add_v_proj",
        f"{block}.cross_attn.norm_k_img": f"{block}.attn2.norm_added_k",
        f"{block}.ffn.0": f"{block}.ffn.net.0.proj",
        f"{block}.ffn.2": f"{block}.ffn.net.2",
        f"{block}.modulation": f"{block}.scale_shift_table",
        # The one norm with weights: numbered as it was made there, as it is used in diffusers.
        f"{block}.norm3": f"{block}.norm2",
    }


WAN_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "text_embedding.0": f"{_CONDITION}text_embedder.linear_1",
        "text_embedding.2": f"{_CONDITION}text_embedder.linear_2",
        "time_embedding.0": f"{_CONDITION}time_embedder.linear_1",
        "time_embedding.2": f"{_CONDITION}time_embedder.linear_2",
        "time_projection.1": f"{_CONDITION}time_proj",
        "img_emb.proj.0": f"{_IMAGE}norm1",
        "img_emb.proj.1": f"{_IMAGE}ff.net.0.proj",
        "img_emb.proj.3": f"{_IMAGE}ff.net.2",
        "img_emb.proj.4": f"{_IMAGE}norm2",
        "head.head": "proj_out",
        "head.modulation": "scale_shift_table",
        **block_names("blocks.*"),
    }
)
_I2V_A14B = {"_class_name": _MODEL, "in_channels": 36}

WAN = Family(
    name="wan",
    title="Wan",
    civitai="Wan Video",
    classes=(_MODEL,),
    denoisers=("transformer", "transformer_2"),
    original=rules({**WAN_NAMES, "img_emb.emb_pos": f"{_IMAGE}pos_embed"}),  # of first and last frames
    marks=("wan",),
    published={
        "14b": PublishedModel("Wan-AI/Wan2.1-T2V-14B-Diffusers", {"transformer": {"_class_name": _MODEL}}),
        "1.3b": PublishedModel(
            "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", {"transformer": {"_class_name": _MODEL, **WAN_1_3B}}
        ),
        "i2v-14b": PublishedModel(
            "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
            {"transformer": {"_class_name": _MODEL, **WAN_IMAGE, "added_kv_proj_dim": 5120}},
            "WanImageToVideoPipeline",
        ),
        "t2v-a14b": PublishedModel(
            "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
            {"transformer": {"_class_name": _MODEL}, "transformer_2": {"_class_name": _MODEL}},
        ),
        "i2v-a14b": PublishedModel(
            "Wan-AI/Wan2.2-I2V-A14B-Diffusers",
            {"transformer": _I2V_A14B, "transformer_2": _I2V_A14B},
            "WanImageToVideoPipeline",
        ),
        "ti2v-5b": PublishedModel(
            "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
            {
                "transformer": {
                    "_class_name": _MODEL,
                    "in_channels": 48,
                    "out_channels": 48,
                    "num_attention_heads": 24,
                    "num_layers": 30,
                    "ffn_dim": 14336,
                }
            },
        ),
    },
    kinds=WAN_KINDS,
    specification=Specification("wan2.1", "wan", "1280x720", "https://github.com/Wan-Video/Wan2.1"),
    card=Card("text-to-video", ("wan",)),
    files={"transformer": "high_noise", "transformer_2": "low_noise"},
)
