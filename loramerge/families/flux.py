"""FLUX.1: Black Forest Labs' names (black-forest-labs/flux, src/flux/model.py)."""

from collections.abc import Mapping
from types import MappingProxyType

from loramerge.families.clip import CLIP_L
from loramerge.families.family import Card, Family, PublishedModel, Specification, TextEncoder
from loramerge.families.layout import ADDED_QKV, QKV, each, rules
from loramerge.families.t5 import T5_XXL

_MODEL = "FluxTransformer2DModel"
_DOUBLE, _SINGLE = "transformer_blocks.*", "single_transformer_blocks.*"
_TIME = "time_text_embed."
FLUX_ATTENTION: Mapping[str, str | tuple[str, ...]] = MappingProxyType(
    {
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "double_blocks.*.img_attn.qkv": each(f"{_DOUBLE}.attn.", QKV),
        "double_blocks.*.img_attn.proj": f"{_DOUBLE}.attn.to_out.0",
        "double_blocks.*.img_attn.norm.query_norm.scale": f"{_DOUBLE}.attn.norm_q.weight",
        "double_blocks.*.img_attn.norm.key_norm.scale": f"{_DOUBLE}.attn.norm_k.weight",
        "double_blocks.*.txt_attn.qkv": each(f"{_DOUBLE}.attn.", ADDED_QKV),
        "double_blocks.*.txt_attn.proj": f"{_DOUBLE}.attn.to_add_out",
        "double_blocks.*.txt_attn.norm.query_norm.scale": f"{_DOUBLE}.attn.norm_added_q.weight",
        "double_blocks.*.txt_attn.norm.key_norm.scale": f"{_DOUBLE}.attn.norm_added_k.weight",
        "single_blocks.*.norm.query_norm.scale": f"{_SINGLE}.attn.norm_q.weight",
        "single_blocks.*.norm.key_norm.scale": f"{_SINGLE}.attn.norm_k.weight",
        "final_layer.linear": "proj_out",
    }
)
"""What FLUX.1, FLUX.2 and Chroma have in common."""
FLUX_BLOCKS: Mapping[str, str | tuple[str, ...]] = MappingProxyType(
    {
        **FLUX_ATTENTION,
        "double_blocks.*.img_mlp.0": f"{_DOUBLE}.ff.net.0.proj",
        "double_blocks.*.img_mlp.2": f"{_DOUBLE}.ff.net.2",
        "double_blocks.*.txt_mlp.0": f"{_DOUBLE}.ff_context.net.0.proj",
        "double_blocks.*.txt_mlp.2": f"{_DOUBLE}.ff_context.net.2",
        "single_blocks.*.linear1": (*each(f"{_SINGLE}.attn.", QKV), f"{_SINGLE}.proj_mlp"),
        "single_blocks.*.linear2": f"{_SINGLE}.proj_out",
    }
)
"""What FLUX.1 and Chroma have in common."""
FLUX_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "self-attention": r"\.attn\.",
        "feed-forward": r"\.ff_context\.|^single_transformer_blocks\..*\.proj_(mlp|out)$",
        "modulation": r"\.(norm1|norm1_context|norm)\.linear$|^norm_out\.linear$",
    }
)
"""Kinds of layers in blocks for picture and text side by side, and in blocks for both as one."""

# XLabs' processors (XLabs-AI/x-flux, src/flux/modules/layers.py): 1 is the picture, 2 the text, and a single block's
# `qkv_lora` leaves out the rows of `linear1` that are the feed-forward's.
_XLABS = {
    "double_blocks.*.processor.qkv_lora1": each(f"{_DOUBLE}.attn.", QKV),
    "double_blocks.*.processor.qkv_lora2": each(f"{_DOUBLE}.attn.", ADDED_QKV),
    "double_blocks.*.processor.proj_lora1": f"{_DOUBLE}.attn.to_out.0",
    "double_blocks.*.processor.proj_lora2": f"{_DOUBLE}.attn.to_add_out",
    "single_blocks.*.processor.qkv_lora": each(f"{_SINGLE}.attn.", QKV),
    "single_blocks.*.processor.proj_lora": f"{_SINGLE}.proj_out",
}


def _flux_edition(repository: str, pipeline: str = "", *, guided: bool = True, **config: int) -> PublishedModel:
    """An edition that has the text encoders of all of them; what tells them apart is what the pictures bring in."""
    transformer = {"_class_name": _MODEL, "guidance_embeds": guided, **config}
    return PublishedModel(
        f"black-forest-labs/FLUX.1-{repository}",
        {"transformer": transformer, "text_encoder": CLIP_L, "text_encoder_2": T5_XXL},
        pipeline,
    )


FLUX = Family(
    name="flux",
    title="FLUX.1",
    civitai="Flux.1 D",
    classes=(_MODEL,),
    original=rules(
        {
            **FLUX_BLOCKS,
            "time_in.in_layer": f"{_TIME}timestep_embedder.linear_1",
            "time_in.out_layer": f"{_TIME}timestep_embedder.linear_2",
            "guidance_in.in_layer": f"{_TIME}guidance_embedder.linear_1",
            "guidance_in.out_layer": f"{_TIME}guidance_embedder.linear_2",
            "vector_in.in_layer": f"{_TIME}text_embedder.linear_1",
            "vector_in.out_layer": f"{_TIME}text_embedder.linear_2",
            "double_blocks.*.img_mod.lin": f"{_DOUBLE}.norm1.linear",
            "double_blocks.*.txt_mod.lin": f"{_DOUBLE}.norm1_context.linear",
            "single_blocks.*.modulation.lin": f"{_SINGLE}.norm.linear",
            "final_layer.adaLN_modulation.1": "norm_out.linear",
        },
        swapped=["final_layer.adaLN_modulation.1"],
    ),
    further=rules(_XLABS),
    diffusers_in_comfyui=True,
    loadable=("text_encoder",),
    text_encoders={
        "text_encoder": TextEncoder(("lora_te1_", "lora_te_"), "clip_l"),
        # sd-scripts counts T5 as the third, as Stable Diffusion 3 does; OneTrainer counts what there is.
        "text_encoder_2": TextEncoder(("lora_te3_", "lora_te2_"), "t5xxl"),
    },
    marks=("flux1", "flux-1", "flux.1", "flux_1", "flux_kontext"),
    published={
        "dev": _flux_edition("dev"),
        "schnell": _flux_edition("schnell", guided=False),
        "fill": _flux_edition("Fill-dev", "FluxFillPipeline", in_channels=384, out_channels=64),
        "control": _flux_edition("Canny-dev", "FluxControlPipeline", in_channels=128, out_channels=64),
        "kontext": _flux_edition("Kontext-dev", "FluxKontextPipeline"),
        "krea": _flux_edition("Krea-dev"),
    },
    kinds=FLUX_KINDS,
    specification=Specification("flux-1-dev", "flux1", "1024x1024", "https://github.com/black-forest-labs/flux"),
    card=Card("text-to-image", ("flux",), webuis=("Forge",)),
)
