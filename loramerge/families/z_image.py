"""Z-Image: the names of Lumina's NextDiT, as ComfyUI keeps them (Comfy-Org/ComfyUI, comfy/ldm/lumina/model.py).

musubi-tuner trains the model under diffusers' names.
"""

from loramerge.families.family import Card, Family, PublishedModel, Specification
from loramerge.families.layout import QKV, each, rules

_MODEL = "ZImageTransformer2DModel"
_BLOCKS = ("layers.*", "noise_refiner.*", "context_refiner.*")

Z_IMAGE = Family(
    name="z_image",
    title="Z-Image",
    civitai="ZImageBase",
    classes=(_MODEL,),
    original=rules(
        {
            "x_embedder": "all_x_embedder.2-1",
            "final_layer": "all_final_layer.2-1",
            **{
                f"{block}.attention.{there}": here
                for block in _BLOCKS
                for there, here in (
                    ("qkv", each(f"{block}.attention.", QKV)),
                    ("out", f"{block}.attention.to_out.0"),
                    ("q_norm", f"{block}.attention.norm_q"),
                    ("k_norm", f"{block}.attention.norm_k"),
                )
            },
        }
    ),
    flat_is_canonical=True,
    diffusers_in_comfyui=True,
    marks=("z_image", "z-image", "zimage"),
    published={
        "turbo": PublishedModel("Tongyi-MAI/Z-Image-Turbo", {"transformer": {"_class_name": _MODEL}}),
        "base": PublishedModel("Tongyi-MAI/Z-Image", {"transformer": {"_class_name": _MODEL}}),
    },
    kinds={
        "self-attention": r"\.attention\.",
        "feed-forward": r"\.feed_forward\.",
        "modulation": r"\.adaLN_modulation\.",
    },
    specification=Specification("Z-Image", "z_image", "1024x1024", "https://github.com/Tongyi-MAI/Z-Image"),
    card=Card("text-to-image", ("z-image",)),
)
