"""Mochi 1: Genmo's names (genmo/mochi_preview/dit/joint_model/asymm_models_joint.py)."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import ADDED_QKV, QKV, each, rules

_MODEL = "MochiTransformer3DModel"
_BLOCK = "transformer_blocks.*."
_ATTENTION = f"{_BLOCK}attn1."

MOCHI = Family(
    name="mochi",
    title="Mochi 1",
    civitai="Mochi",
    classes=(_MODEL,),
    original=rules(
        {
            "x_embedder": "patch_embed",
            "t_embedder.mlp.0": "time_embed.timestep_embedder.linear_1",
            "t_embedder.mlp.2": "time_embed.timestep_embedder.linear_2",
            "t5_y_embedder": "time_embed.pooler",
            "t5_yproj": "time_embed.caption_proj",
            "final_layer.mod": "norm_out.linear",
            "final_layer.linear": "proj_out",
            "blocks.*.mod_x": f"{_BLOCK}norm1.linear",
            # The last block puts out no text: it scales it and that is all, by a layer of another name.
            "blocks.*.mod_y": (f"{_BLOCK}norm1_context.linear", f"{_BLOCK}norm1_context.linear_1"),
            "blocks.*.attn.qkv_x": each(_ATTENTION, QKV),
            "blocks.*.attn.qkv_y": each(_ATTENTION, ADDED_QKV),
            "blocks.*.attn.proj_x": f"{_ATTENTION}to_out.0",
            "blocks.*.attn.proj_y": f"{_ATTENTION}to_add_out",
            "blocks.*.attn.q_norm_x": f"{_ATTENTION}norm_q",
            "blocks.*.attn.k_norm_x": f"{_ATTENTION}norm_k",
            "blocks.*.attn.q_norm_y": f"{_ATTENTION}norm_added_q",
            "blocks.*.attn.k_norm_y": f"{_ATTENTION}norm_added_k",
            "blocks.*.mlp_x.w1": f"{_BLOCK}ff.net.0.proj",
            "blocks.*.mlp_x.w2": f"{_BLOCK}ff.net.2",
            "blocks.*.mlp_y.w1": f"{_BLOCK}ff_context.net.0.proj",
            "blocks.*.mlp_y.w2": f"{_BLOCK}ff_context.net.2",
        },
        swapped=["final_layer.mod", "blocks.*.mlp_x.w1", "blocks.*.mlp_y.w1"],
    ),
    published={"preview": PublishedModel("genmo/mochi-1-preview", {"transformer": {"_class_name": _MODEL}})},
    kinds={"feed-forward": r"\.ff(_context)?\."},
    card=Card("text-to-video", ("mochi",)),
)
