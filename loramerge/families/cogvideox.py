"""CogVideoX, and ConsisID, which is made of it: LoRAs have diffusers' names (models/transformers/cogvideox_*.py).

ComfyUI has names of its own (comfy/ldm/cogvideo/model.py); nobody trains in those of the original checkpoint.
"""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import rules

_MODEL = "CogVideoXTransformer3DModel"
_5B = {"_class_name": _MODEL, "num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True}
_1_5 = {**_5B, "patch_size_t": 2, "patch_bias": False, "sample_height": 300, "sample_width": 300, "sample_frames": 81}

COGVIDEOX = Family(
    name="cogvideox",
    title="CogVideoX",
    civitai="CogVideoX",
    classes=(_MODEL, "ConsisIDTransformer3DModel"),
    original=rules(
        {
            "blocks.*": "transformer_blocks.*",
            **{f"blocks.*.{name}": f"transformer_blocks.*.attn1.to_{name}" for name in "qkv"},
            **{f"blocks.*.norm_{name}": f"transformer_blocks.*.attn1.norm_{name}" for name in "qk"},
            "blocks.*.attn_out": "transformer_blocks.*.attn1.to_out.0",
            "blocks.*.ff_proj": "transformer_blocks.*.ff.net.0.proj",
            "blocks.*.ff_out": "transformer_blocks.*.ff.net.2",
            **{
                f"{name}_embedding_linear_{number}": f"{name}_embedding.linear_{number}"
                for name in ("time", "ofs")
                for number in (1, 2)
            },
        }
    ),
    published={
        "5b": PublishedModel("THUDM/CogVideoX-5b", {"transformer": _5B}),
        "2b": PublishedModel("THUDM/CogVideoX-2b", {"transformer": {"_class_name": _MODEL}}),
        "5b-i2v": PublishedModel(
            "THUDM/CogVideoX-5b-I2V",
            {"transformer": {**_5B, "in_channels": 32, "use_learned_positional_embeddings": True}},
            "CogVideoXImageToVideoPipeline",
        ),
        "1.5-5b": PublishedModel("THUDM/CogVideoX1.5-5B", {"transformer": _1_5}),
        "1.5-5b-i2v": PublishedModel(
            "THUDM/CogVideoX1.5-5B-I2V",
            {"transformer": {**_1_5, "in_channels": 32, "ofs_embed_dim": 512}},
            "CogVideoXImageToVideoPipeline",
        ),
    },
    card=Card("text-to-video", ("cogvideox",)),
)
