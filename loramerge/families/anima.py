"""Anima: Cosmos' transformer and names, and Qwen3 behind an adapter (sd-scripts, library/anima_models.py)."""

from loramerge.families.cosmos import COSMOS_MODEL, PREDICT2, PREDICT2_NAMES, is_anima
from loramerge.families.family import Card, Family, PublishedModel, Specification, TextEncoder
from loramerge.families.layout import rules
from loramerge.families.llama import INNER_MODEL

ANIMA = Family(
    name="anima",
    title="Anima",
    civitai="Anima",
    classes=(COSMOS_MODEL,),
    is_this=is_anima,
    original=rules(PREDICT2_NAMES),
    loadable=("text_conditioner",),
    text_encoders={"text_encoder": TextEncoder(("lora_te_", "lora_te1_"), "qwen3_06b", INNER_MODEL)},
    components={"llm_adapter": "text_conditioner"},
    marks=("anima",),
    published={
        "base": PublishedModel(
            "circlestone-labs/Anima-Base-v1.0-Diffusers",
            {
                "transformer": {"_class_name": COSMOS_MODEL, **PREDICT2},
                "text_conditioner": {"_class_name": "AnimaTextConditioner"},
            },
        )
    },
    specification=Specification("anima-preview", "anima", "1024x1024", "https://huggingface.co/circlestone-labs/Anima"),
    card=Card("text-to-image", ("anima",), opens="ModularPipeline"),
)
