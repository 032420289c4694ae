"""Kandinsky 5: Kandinsky Lab's names (kandinsky/models/dit.py) are diffusers'."""

from loramerge.families.family import Card, Family, PublishedModel, Specification

_MODEL = "Kandinsky5Transformer3DModel"
_LATENT = {"_class_name": _MODEL, "in_visual_dim": 16, "out_visual_dim": 16}
_VIDEO = {**_LATENT, "model_dim": 1792, "ff_dim": 7168, "visual_cond": True}
_IMAGE = {**_LATENT, "model_dim": 2560, "ff_dim": 10240, "num_visual_blocks": 50, "axes_dims": (32, 48, 48)}

KANDINSKY5 = Family(
    name="kandinsky5",
    title="Kandinsky 5",
    classes=(_MODEL,),
    original=(),
    diffusers_in_comfyui=True,
    marks=("kandinsky5", "kandinsky-5"),
    published={
        "t2v-lite": PublishedModel("kandinskylab/Kandinsky-5.0-T2V-Lite-sft-5s-Diffusers", {"transformer": _VIDEO}),
        "t2i-lite": PublishedModel(
            "kandinskylab/Kandinsky-5.0-T2I-Lite-sft-Diffusers", {"transformer": _IMAGE}, "Kandinsky5T2IPipeline"
        ),
    },
    kinds={
        "self-attention": r"\.self_attention\.",
        "cross-attention": r"\.cross_attention\.",
        "feed-forward": r"\.feed_forward\.",
    },
    specification=Specification("Kandinsky-5", "kandinsky5", "1280x720", "https://github.com/kandinskylab/kandinsky-5"),
    card=Card("text-to-video", ("kandinsky-5",)),
)
