"""FLUX.2: Black Forest Labs' names (black-forest-labs/flux2, src/flux2/model.py)."""

from loramerge.families.family import Card, Family, PublishedModel, Specification
from loramerge.families.flux import FLUX_ATTENTION
from loramerge.families.layout import rules

_MODEL = "Flux2Transformer2DModel"
_DOUBLE, _SINGLE = "transformer_blocks.*", "single_transformer_blocks.*"
_TIME = "time_guidance_embed."
_FOR_ALL_BLOCKS = ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation")

FLUX2 = Family(
    name="flux2",
    title="FLUX.2",
    civitai="Flux.2 D",
    classes=(_MODEL,),
    original=rules(
        {
            **FLUX_ATTENTION,
            "time_in.in_layer": f"{_TIME}timestep_embedder.linear_1",
            "time_in.out_layer": f"{_TIME}timestep_embedder.linear_2",
            "guidance_in.in_layer": f"{_TIME}guidance_embedder.linear_1",
            "guidance_in.out_layer": f"{_TIME}guidance_embedder.linear_2",
            **{f"{name}.lin": f"{name}.linear" for name in _FOR_ALL_BLOCKS},
            "double_blocks.*.img_mlp.0": f"{_DOUBLE}.ff.linear_in",
            "double_blocks.*.img_mlp.2": f"{_DOUBLE}.ff.linear_out",
            "double_blocks.*.txt_mlp.0": f"{_DOUBLE}.ff_context.linear_in",
            "double_blocks.*.txt_mlp.2": f"{_DOUBLE}.ff_context.linear_out",
            # One layer in diffusers as well: for queries, keys, values and the feed-forward.
            "single_blocks.*.linear1": f"{_SINGLE}.attn.to_qkv_mlp_proj",
            "single_blocks.*.linear2": f"{_SINGLE}.attn.to_out",
            "final_layer.adaLN_modulation.1": "norm_out.linear",
        },
        swapped=["final_layer.adaLN_modulation.1"],
    ),
    marks=("flux2", "flux.2", "flux_2", "flux-2"),
    published={
        "dev": PublishedModel("black-forest-labs/FLUX.2-dev", {"transformer": {"_class_name": _MODEL}}),
        "klein-4b": PublishedModel(
            "black-forest-labs/FLUX.2-klein-4B",
            {
                "transformer": {
                    "_class_name": _MODEL,
                    "num_layers": 5,
                    "num_single_layers": 20,
                    "num_attention_heads": 24,
                    "joint_attention_dim": 7680,
                    "guidance_embeds": False,
                }
            },
        ),
        "klein-9b": PublishedModel(
            "black-forest-labs/FLUX.2-klein-9B",
            {
                "transformer": {
                    "_class_name": _MODEL,
                    "num_single_layers": 24,
                    "num_attention_heads": 32,
                    "joint_attention_dim": 12288,
                    "guidance_embeds": False,
                }
            },
        ),
    },
    kinds={
        "self-attention": r"\.attn\.",
        "feed-forward": r"\.ff_context\.",
        "modulation": r"^(double|single)_stream_modulation|^norm_out\.linear$",
    },
    specification=Specification("Flux.2-dev", "flux_2_dev", "1280x720", "https://github.com/black-forest-labs/flux2"),
    card=Card("text-to-image", ("flux2",)),
)
