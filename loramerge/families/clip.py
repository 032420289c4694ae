"""CLIP's text encoders, as several families use them: configs, and OpenCLIP's names (open_clip/transformer.py)."""

from collections.abc import Mapping
from typing import Any

from loramerge.families.layout import each, rules

CLIP_L: Mapping[str, Any] = {
    "architectures": ["CLIPTextModel"],
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
OPENCLIP_H: Mapping[str, Any] = {
    **CLIP_L,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
}
OPENCLIP_G: Mapping[str, Any] = {
    "architectures": ["CLIPTextModelWithProjection"],
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
_PROJECTION = "text_projection"
_THERE, _HERE = "transformer.resblocks.*.", "text_model.encoder.layers.*."
_ATTENTION = f"{_HERE}self_attn."
OPENCLIP = rules(
    {
        "token_embedding": "text_model.embeddings.token_embedding",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "ln_final": "text_model.final_layer_norm",
        _PROJECTION: f"{_PROJECTION}.weight",
        f"{_THERE}ln_1": f"{_HERE}layer_norm1",
        f"{_THERE}ln_2": f"{_HERE}layer_norm2",
        f"{_THERE}mlp.c_fc": f"{_HERE}mlp.fc1",
        f"{_THERE}mlp.c_proj": f"{_HERE}mlp.fc2",
        f"{_THERE}attn.out_proj": f"{_ATTENTION}out_proj",
        **{
            f"{_THERE}attn.in_proj_{kind}": each(_ATTENTION, (f"{part}_proj.{kind}" for part in "qkv"))
            for kind in ("weight", "bias")
        },
    }
)
OPENCLIP_TRANSPOSED = frozenset({f"{_PROJECTION}.weight"})
"""OpenCLIP multiplies by its projection from the right: it is in×out there, out×in in transformers."""
