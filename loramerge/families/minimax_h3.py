"""MiniMax-H3: the names of MiniMax's single files, in which queries, keys and values lie one after the other.

MiniMax's own shards have them by turns for each head, and so do LoRAs of DiffSynth, which trains on the shards as they
are. Names and shapes are the same; what tells DiffSynth's files is that they keep PEFT's name of the adapter
(diffusers, loaders/lora_conversion_utils.py).
"""

from collections.abc import Mapping

from loramerge.families.family import Card, Config, Family, PublishedModel
from loramerge.families.layout import QKV, Rule, each, rules

_MODEL = "MiniMaxH3Transformer3DModel"
_HEADS = 56
"""What the class takes a model to have whose config does not say."""
_BLOCKS = {"blocks.*.": "transformer_blocks.*.", "token_refiner.blocks.*.": "token_refiner.refiner_blocks.*."}


def _in_block(there: str, here: str) -> Mapping[str, str | tuple[str, ...]]:
    return {
        there.removesuffix("."): here.removesuffix("."),
        f"{there}attn.qkv_proj": each(f"{here}attn.", QKV),
        f"{there}attn.out_proj": f"{here}attn.to_out.0",
        f"{there}attn.q_norm": f"{here}attn.norm_q",
        f"{there}attn.k_norm": f"{here}attn.norm_k",
        f"{there}mlp.fc1": f"{here}ff.net.0.proj",
        f"{there}mlp.fc2": f"{here}ff.net.2",
    }


_NAMES: Mapping[str, str | tuple[str, ...]] = {
    "video_patch_proj": "proj_in",
    "audio_patch_proj": "audio_proj_in",
    "condition_proj": "context_embedder",
    "time_embedder.proj_in": "time_embedder.linear_1",
    "time_embedder.proj_out": "time_embedder.linear_2",
    "final_layer.norm": "norm_out.norm",
    "final_layer.adaln_proj.linear": "norm_out.linear",
    "final_layer.video_out": "proj_out",
    "final_layer.audio_out": "audio_proj_out",
    **{name: parts for there, here in _BLOCKS.items() for name, parts in _in_block(there, here).items()},
}


def _minimax_rules(turns: int = 1) -> tuple[Rule, ...]:
    return rules(
        _NAMES,
        swapped=[f"{there}mlp.fc1" for there in _BLOCKS],  # (gate, value) there, (value, gate) in diffusers
        turns={f"{there}attn.qkv_proj": turns for there in _BLOCKS},
    )


def _by_head(config: Config) -> tuple[Rule, ...]:
    """As the shards have them, and DiffSynth."""
    return _minimax_rules(int(config.get("num_attention_heads", _HEADS)))


MINIMAX_H3 = Family(
    name="minimax_h3",
    title="MiniMax-H3",
    classes=(_MODEL,),
    denoisers=("transformer", "transformer_ref"),
    original=_minimax_rules(),
    named=_by_head,
    marks=("minimax_h3",),
    published={
        "h3": PublishedModel(
            "MiniMaxAI/MiniMax-H3",
            {"transformer": {"_class_name": _MODEL}, "transformer_ref": {"_class_name": _MODEL}},
        )
    },
    kinds={"self-attention": r"\.attn\."},
    card=Card("text-to-video", ("minimax-h3",), opens="ModularPipeline"),
    files={"transformer": "fl2va", "transformer_ref": "ref2va"},
)
