"""Wan Animate 2: Alibaba's names, whose blocks lie in a module of their own (`blocks.0.block`); ComfyUI's don't."""

from loramerge.families.family import Card, Family
from loramerge.families.layout import rules
from loramerge.families.wan import WAN_KINDS

_MODEL = "WanAnimate2Transformer3DModel"
_BLOCK, _THERE = "blocks.*", "blocks.*.block"
_LAYERS = (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"))


def _attention(block: str) -> dict[str, str]:
    return {
        **{
            f"{block}.{attention}.{there}": f"{_BLOCK}.{attention}.{here}"
            for attention in ("self_attn", "cross_attn")
            for there, here in _LAYERS
        },
        f"{block}.cross_attn.k_img": f"{_BLOCK}.cross_attn.add_k_proj",
        f"{block}.cross_attn.v_img": f"{_BLOCK}.cross_attn.add_v_proj",
        f"{block}.cross_attn.norm_k_img": f"{_BLOCK}.cross_attn.norm_added_k",
    }


WAN_ANIMATE_2 = Family(
    name="wan_animate_2",
    title="Wan Animate 2",
    classes=(_MODEL,),
    denoisers=("transformer", "transformer_2"),
    original=rules({_THERE: _BLOCK, **_attention(_THERE)}),
    comfyui=rules(_attention(_BLOCK)),
    kinds={**WAN_KINDS, "cross-attention": r"\.cross_attn\."},
    card=Card("image-to-video", ("wan",), opens="ModularPipeline"),
)
