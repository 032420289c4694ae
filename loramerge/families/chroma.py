"""Chroma: FLUX.1's names without its modulation (lodestones/Chroma; sd-scripts, library/chroma_models.py)."""

from loramerge.families.family import Card, Family, PublishedModel, Specification, TextEncoder
from loramerge.families.flux import FLUX_BLOCKS, FLUX_KINDS
from loramerge.families.layout import rules
from loramerge.families.t5 import T5_XXL

_MODEL = "ChromaTransformer2DModel"
_GUIDANCE = "distilled_guidance_layer"

CHROMA = Family(
    name="chroma",
    title="Chroma",
    civitai="Chroma",
    classes=(_MODEL,),
    original=rules(
        {
            **FLUX_BLOCKS,
            f"{_GUIDANCE}.layers.*.in_layer": f"{_GUIDANCE}.layers.*.linear_1",
            f"{_GUIDANCE}.layers.*.out_layer": f"{_GUIDANCE}.layers.*.linear_2",
            f"{_GUIDANCE}.norms.*.scale": f"{_GUIDANCE}.norms.*.weight",
        }
    ),
    # T5 is the only one, and the first to OneTrainer and ComfyUI; to sd-scripts it is the third, as in FLUX.1.
    text_encoders={"text_encoder": TextEncoder(("lora_te1_", "lora_te3_", "lora_te_"), "t5xxl")},
    marks=("chroma",),
    published={
        "hd": PublishedModel("lodestones/Chroma1-HD", {"transformer": {"_class_name": _MODEL}, "text_encoder": T5_XXL})
    },
    kinds={**FLUX_KINDS, "modulation": rf"^{_GUIDANCE}\."},
    specification=Specification("chroma", "chroma", "1024x1024", "https://huggingface.co/lodestones/Chroma"),
    card=Card("text-to-image", ("chroma",)),
)
