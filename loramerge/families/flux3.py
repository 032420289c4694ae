"""FLUX.3: Black Forest Labs' names (black-forest-labs/flux-3-image-klein, src/flux3)."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import rules

_MODEL = "Flux3Transformer2DModel"
_MODES = ("image", "image_cond")
_BLOCKS = {
    **{f"content_mode_blocks.{mode}.*": f"mode_blocks.{mode}.*" for mode in _MODES},
    "txt_mode_blocks.*": "txt_mode_blocks.*",
    "single_blocks.*": "single_transformer_blocks.*",
}
_IN_BLOCK = {
    "q_proj": "attn.to_q",
    "k_proj": "attn.to_k",
    "v_proj": "attn.to_v",
    "attn_out": "attn.to_out.0",
    "norm.query_norm.scale": "attn.norm_q.weight",
    "norm.key_norm.scale": "attn.norm_k.weight",
    "mlp_in": "ff.linear_in",
    "mlp_out": "ff.linear_out",
}
_MODULATIONS = tuple(f"{stage}_stream_modulations.{mode}" for stage in ("early", "single") for mode in (*_MODES, "txt"))

FLUX3 = Family(
    name="flux3",
    title="FLUX.3",
    classes=(_MODEL,),
    original=rules(
        {
            "emb_in": "x_embedders",
            "txt_in": "context_embedder",
            "time_in.in_layer": "timestep_embedder.linear_1",
            "time_in.out_layer": "timestep_embedder.linear_2",
            "ref_time_in.in_layer": "target_timestep_embedder.linear_1",
            "ref_time_in.out_layer": "target_timestep_embedder.linear_2",
            **{f"{name}.lin": f"{name}.linear" for name in _MODULATIONS},
            **{
                f"{there}.{original}": f"{here}.{canonical}"
                for there, here in _BLOCKS.items()
                for original, canonical in _IN_BLOCK.items()
            },
            "final_layer.image.linear": "proj_out",
            "final_layer.image.adaLN_modulation.1": "norm_out.linear",
        },
        swapped=["final_layer.image.adaLN_modulation.1"],
    ),
    marks=("flux3", "flux.3", "flux_3", "flux-3"),
    published={
        "klein-base": PublishedModel(
            "black-forest-labs/flux-3-image-klein-base", {"transformer": {"_class_name": _MODEL}}
        ),
        "klein": PublishedModel(
            "black-forest-labs/flux-3-image-klein", {"transformer": {"_class_name": _MODEL, "flow_map": True}}
        ),
    },
    kinds={
        "self-attention": r"\.attn\.",
        "modulation": r"^(early|single)_stream_modulations\.|^norm_out\.linear$",
    },
    card=Card("text-to-image", ("flux3",), opens="ModularPipeline"),
)
