"""CogView 4: LoRAs have diffusers' names (models/transformers/transformer_cogview4.py)."""

from loramerge.families.family import Card, Family, PublishedModel

_MODEL = "CogView4Transformer2DModel"

COGVIEW4 = Family(
    name="cogview4",
    title="CogView 4",
    classes=(_MODEL,),
    published={
        "6b": PublishedModel(
            "THUDM/CogView4-6B",
            {
                "transformer": {
                    "_class_name": _MODEL,
                    "num_layers": 28,
                    "attention_head_dim": 128,
                    "num_attention_heads": 32,
                }
            },
        )
    },
    card=Card("text-to-image", ("cogview4",)),
)
