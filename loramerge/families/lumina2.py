"""Lumina-Image 2.0: Alpha-VLLM's names (Alpha-VLLM/Lumina-Image-2.0, models/model.py)."""

from loramerge.families.family import Card, Family, PublishedModel, Specification, TextEncoder
from loramerge.families.layout import QKV, each, rules

_MODEL = "Lumina2Transformer2DModel"
_MODULATED = ("layers.*", "noise_refiner.*")
_PLAIN = "context_refiner.*"
_GEMMA_2_2B = {
    "architectures": ["Gemma2Model"],
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 256000,
}


def _in_block(block: str) -> dict[str, str | tuple[str, ...]]:
    return {
        f"{block}.attention.qkv": each(f"{block}.attn.", QKV),  # keys and values are narrower than queries
        f"{block}.attention.out": f"{block}.attn.to_out.0",
        f"{block}.attention.q_norm": f"{block}.attn.norm_q",
        f"{block}.attention.k_norm": f"{block}.attn.norm_k",
        f"{block}.attention_norm2": f"{block}.norm2",
        **{f"{block}.feed_forward.w{number}": f"{block}.feed_forward.linear_{number}" for number in (1, 2, 3)},
    }


LUMINA2 = Family(
    name="lumina2",
    title="Lumina-Image 2.0",
    civitai="Lumina",
    classes=(_MODEL,),
    original=rules(
        {
            "cap_embedder": "time_caption_embed.caption_embedder",
            "t_embedder.mlp.0": "time_caption_embed.timestep_embedder.linear_1",
            "t_embedder.mlp.2": "time_caption_embed.timestep_embedder.linear_2",
            **{name: canonical for block in (*_MODULATED, _PLAIN) for name, canonical in _in_block(block).items()},
            **{f"{block}.adaLN_modulation.1": f"{block}.norm1.linear" for block in _MODULATED},
            **{f"{block}.attention_norm1": f"{block}.norm1.norm" for block in _MODULATED},
            f"{_PLAIN}.attention_norm1": f"{_PLAIN}.norm1",
            "final_layer.adaLN_modulation.1": "norm_out.linear_1",
            "final_layer.linear": "norm_out.linear_2",
        }
    ),
    text_encoders={"text_encoder": TextEncoder(("lora_te_",))},
    marks=("lumina2", "lumina-2", "lumina_2"),
    published={
        "2b": PublishedModel(
            "Alpha-VLLM/Lumina-Image-2.0",
            {"transformer": {"_class_name": _MODEL, "cap_feat_dim": 2304}, "text_encoder": _GEMMA_2_2B},
        )
    },
    kinds={
        "self-attention": r"\.attn\.",
        "feed-forward": r"\.feed_forward\.",
        "modulation": r"\.norm1\.linear$|^norm_out\.linear_1$",
    },
    specification=Specification("lumina-2", "lumina2", "1024x1024", "https://github.com/Alpha-VLLM/Lumina-Image-2.0"),
    card=Card("text-to-image", ("lumina",)),
)
