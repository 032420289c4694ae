"""Cosmos 1.0, Predict2 and Predict2.5: NVIDIA's names (cosmos_predict2/models/text2image_dit.py).

The text-to-image model of Predict2 with two billion parameters has the very config of Anima, and is taken for it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from loramerge.families.family import Card, Config, Family, PublishedModel
from loramerge.families.layout import Rule, rules

COSMOS_MODEL = "CosmosTransformer3DModel"
_BLOCK, _THERE = "transformer_blocks.*.", "blocks.*."
_FIRST_BLOCK = "blocks.block*.blocks."
_LEARNABLE = "learnable"
"""What the class takes, and what the first Cosmos has: positions that are learned beside those that turn."""
PREDICT2: Mapping[str, Any] = MappingProxyType({"num_attention_heads": 16, "extra_pos_embed_type": None})
"""What makes the small size of Predict2."""
_14B = {"num_attention_heads": 40, "num_layers": 36}
_PREDICT2_5 = {**PREDICT2, "use_crossattn_projection": True, "crossattn_proj_in_channels": 100352}
_CHANNELS = 16
_FRAMES = {"in_channels": _CHANNELS + 1}
"""A mask says which frames are given."""
_PUBLISHED: Mapping[str, tuple[str, Config]] = {
    "predict2.5-2b": ("Cosmos-Predict2.5-2B", {**_PREDICT2_5, **_FRAMES}),
    "predict2.5-14b": ("Cosmos-Predict2.5-14B", {**_PREDICT2_5, **_14B, **_FRAMES}),
    "predict2-2b-video2world": ("Cosmos-Predict2-2B-Video2World", {**PREDICT2, **_FRAMES}),
    "predict2-14b-video2world": ("Cosmos-Predict2-14B-Video2World", {**PREDICT2, **_14B, **_FRAMES}),
    "predict2-14b-text2image": ("Cosmos-Predict2-14B-Text2Image", {**PREDICT2, **_14B}),
    "7b-text2world": ("Cosmos-1.0-Diffusion-7B-Text2World", {}),
    "7b-video2world": ("Cosmos-1.0-Diffusion-7B-Video2World", _FRAMES),
    "14b-text2world": ("Cosmos-1.0-Diffusion-14B-Text2World", _14B),
    "14b-video2world": ("Cosmos-1.0-Diffusion-14B-Video2World", {**_14B, **_FRAMES}),
}
_PIPELINES = {"text2image": "Cosmos2TextToImagePipeline", "video2world": "Cosmos2VideoToWorldPipeline"}

PREDICT2_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "x_embedder.proj.1": "patch_embed.proj",
        "t_embedder.1": "time_embed.t_embedder",
        "t_embedding_norm": "time_embed.norm",
        "final_layer.linear": "proj_out",
        "final_layer.adaln_modulation.1": "norm_out.linear_1",
        "final_layer.adaln_modulation.2": "norm_out.linear_2",
        **{
            f"{_THERE}{original}.{there}": f"{_BLOCK}{canonical}.{here}"
            for original, canonical in (("self_attn", "attn1"), ("cross_attn", "attn2"))
            for there, here in (
                ("q_proj", "to_q"),
                ("k_proj", "to_k"),
                ("v_proj", "to_v"),
                ("output_proj", "to_out.0"),
                ("q_norm", "norm_q"),
                ("k_norm", "norm_k"),
            )
        },
        f"{_THERE}mlp.layer1": f"{_BLOCK}ff.net.0.proj",
        f"{_THERE}mlp.layer2": f"{_BLOCK}ff.net.2",
        **{
            f"{_THERE}adaln_modulation_{part}.{each}": f"{_BLOCK}norm{number}.linear_{each}"
            for number, part in enumerate(("self_attn", "cross_attn", "mlp"), 1)
            for each in (1, 2)
        },
    }
)
_FIRST_NAMES = {
    "x_embedder.proj.1": "patch_embed.proj",
    "t_embedder.1": "time_embed.t_embedder",
    "affline_norm": "time_embed.norm",
    "extra_pos_embedder": "learnable_pos_embed",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear_1",
    "final_layer.adaLN_modulation.2": "norm_out.linear_2",
    **{
        f"{_FIRST_BLOCK}{number}.block.attn.{there}": f"{_BLOCK}attn{number + 1}.{here}"
        for number in (0, 1)
        for there, here in (
            ("to_q.0", "to_q"),
            ("to_q.1", "norm_q"),
            ("to_k.0", "to_k"),
            ("to_k.1", "norm_k"),
            ("to_v.0", "to_v"),
            ("to_out.0", "to_out.0"),
        )
    },
    f"{_FIRST_BLOCK}2.block.layer1": f"{_BLOCK}ff.net.0.proj",
    f"{_FIRST_BLOCK}2.block.layer2": f"{_BLOCK}ff.net.2",
    **{
        f"{_FIRST_BLOCK}{number}.adaLN_modulation.{each}": f"{_BLOCK}norm{number + 1}.linear_{each}"
        for number in (0, 1, 2)
        for each in (1, 2)
    },
}


def is_anima(config: Config) -> bool:
    """Whether a model of Cosmos' class has the sizes of Anima.

    Args:
        config: Its config.json, or what of it differs from what the class takes otherwise.
    """
    return (
        config.get("num_attention_heads") == PREDICT2["num_attention_heads"]
        and config.get("extra_pos_embed_type", _LEARNABLE) is None
        and config.get("in_channels", _CHANNELS) == _CHANNELS
        and not config.get("use_crossattn_projection")
    )


def _original(config: Config) -> tuple[Rule, ...]:
    if config.get("extra_pos_embed_type", _LEARNABLE) is not None:
        return rules(_FIRST_NAMES)
    return rules({**PREDICT2_NAMES, f"{_THERE}cross_attn": f"{_BLOCK}attn2"})  # which has images' layers in Transfer


COSMOS = Family(
    name="cosmos",
    title="Cosmos",
    classes=(COSMOS_MODEL,),
    is_this=lambda config: not is_anima(config),
    original=_original,
    published={
        name: PublishedModel(
            f"nvidia/{repository}",
            {"transformer": {"_class_name": COSMOS_MODEL, **sizes}},
            next((pipeline for ending, pipeline in _PIPELINES.items() if name.endswith(ending)), ""),
        )
        for name, (repository, sizes) in _PUBLISHED.items()
    },
    card=Card("text-to-video", ("cosmos",), loads="model"),
)
