"""AuraFlow: fal's names (fal/AuraFlow; Comfy-Org/ComfyUI, comfy/ldm/aura/mmdit.py)."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import ADDED_QKV, QKV, rules

_MODEL = "AuraFlowTransformer2DModel"
_DOUBLE, _SINGLE = "joint_transformer_blocks.*", "single_transformer_blocks.*"
_FEED_FORWARD = {"c_fc1": "linear_1", "c_fc2": "linear_2", "c_proj": "out_projection"}
_PICTURE = (*QKV, "to_out.0")
_TEXT = (*ADDED_QKV, "to_add_out")

AURAFLOW = Family(
    name="auraflow",
    title="AuraFlow",
    civitai="AuraFlow",
    classes=(_MODEL,),
    original=rules(
        {
            "t_embedder.mlp.0": "time_step_proj.linear_1",
            "t_embedder.mlp.2": "time_step_proj.linear_2",
            "cond_seq_linear": "context_embedder",
            "positional_encoding": "pos_embed.pos_embed",
            "init_x_linear": "pos_embed.proj",
            "double_layers.*.modX.1": f"{_DOUBLE}.norm1.linear",
            "double_layers.*.modC.1": f"{_DOUBLE}.norm1_context.linear",
            "single_layers.*.modCX.1": f"{_SINGLE}.norm1.linear",
            **{
                f"{there}.{original}": f"{here}.{canonical}"
                for there, here in (
                    ("double_layers.*.mlpX", f"{_DOUBLE}.ff"),
                    ("double_layers.*.mlpC", f"{_DOUBLE}.ff_context"),
                    ("single_layers.*.mlp", f"{_SINGLE}.ff"),
                )
                for original, canonical in _FEED_FORWARD.items()
            },
            # Text is 1 and the picture 2 where they are apart; both as one are 1.
            **{
                f"{there}{part}": f"{here}.attn.{name}"
                for there, here, names in (
                    ("double_layers.*.attn.w1", _DOUBLE, _TEXT),
                    ("double_layers.*.attn.w2", _DOUBLE, _PICTURE),
                    ("single_layers.*.attn.w1", _SINGLE, _PICTURE),
                )
                for part, name in zip("qkvo", names, strict=True)
            },
            "final_linear": "proj_out",
            "modF.1": "norm_out.linear",
        },
        swapped=["modF.1"],
    ),
    diffusers_in_comfyui=True,
    marks=("auraflow", "aura_flow", "aura-flow"),
    published={
        "v0.3": PublishedModel(
            "fal/AuraFlow-v0.3", {"transformer": {"_class_name": _MODEL, "pos_embed_max_size": 9216}}
        ),
        "v0.1": PublishedModel("fal/AuraFlow", {"transformer": {"_class_name": _MODEL}}),
    },
    kinds={
        "self-attention": r"\.attn\.",
        "feed-forward": r"\.ff_context\.",
        "modulation": r"\.(norm1|norm1_context)\.linear$|^norm_out\.linear$",
    },
    card=Card("text-to-image", ("auraflow",)),
)
