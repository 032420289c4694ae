"""The config of T5's encoder that several families use."""

from collections.abc import Mapping
from typing import Any

T5_XXL: Mapping[str, Any] = {
    "architectures": ["T5EncoderModel"],
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "vocab_size": 32128,
}
