"""Krea 2: Krea's names (krea-ai/krea-2, mmdit.py).

A checkpoint has the six modulation vectors of a block in one long vector, diffusers in six rows; that is not kept.
"""

from loramerge.families.family import Card, Family, PublishedModel, Specification
from loramerge.families.layout import rules

_MODEL = "Krea2Transformer2DModel"
_BLOCKS = {
    "blocks.*": "transformer_blocks.*",
    "txtfusion.layerwise_blocks.*": "text_fusion.layerwise_blocks.*",
    "txtfusion.refiner_blocks.*": "text_fusion.refiner_blocks.*",
}
_IN_BLOCK = {
    "attn.wq": "attn.to_q",
    "attn.wk": "attn.to_k",
    "attn.wv": "attn.to_v",
    "attn.wo": "attn.to_out.0",
    "attn.gate": "attn.to_gate",
    "attn.qknorm.qnorm.scale": "attn.norm_q.weight",
    "attn.qknorm.knorm.scale": "attn.norm_k.weight",
    "mlp": "ff",
    "prenorm.scale": "norm1.weight",
    "postnorm.scale": "norm2.weight",
}

KREA2 = Family(
    name="krea2",
    title="Krea 2",
    civitai="Krea 2",
    classes=(_MODEL,),
    original=rules(
        {
            "first": "img_in",
            "tmlp.0": "time_embed.linear_1",
            "tmlp.2": "time_embed.linear_2",
            "tproj.1": "time_mod_proj",
            "txtmlp.0.scale": "txt_in.norm.weight",
            "txtmlp.1": "txt_in.linear_1",
            "txtmlp.3": "txt_in.linear_2",
            "txtfusion.projector": "text_fusion.projector",
            "blocks.*.mod.lin": "transformer_blocks.*.scale_shift_table",
            "last.linear": "final_layer.linear",
            "last.norm.scale": "final_layer.norm.weight",
            "last.modulation.lin": "final_layer.scale_shift_table",
            **{
                f"{there}.{original}": f"{here}.{canonical}"
                for there, here in _BLOCKS.items()
                for original, canonical in _IN_BLOCK.items()
            },
        }
    ),
    marks=("krea2", "krea-2"),
    published={
        "raw": PublishedModel("krea/Krea-2-Raw", {"transformer": {"_class_name": _MODEL}}),
        "turbo": PublishedModel("krea/Krea-2-Turbo", {"transformer": {"_class_name": _MODEL}}),
    },
    kinds={"self-attention": r"\.attn\."},
    specification=Specification("Krea-2", "krea2", "1024x1024", "https://github.com/krea-ai/krea-2"),
    card=Card("text-to-image", ("krea-2",)),
)
