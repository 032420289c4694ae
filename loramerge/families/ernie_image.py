"""ERNIE-Image: Baidu's names are diffusers' (diffusers, loaders/single_file_utils.py)."""

from loramerge.families.family import Card, Family, PublishedModel

_MODEL = "ErnieImageTransformer2DModel"
_8B = {
    "_class_name": _MODEL,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_layers": 36,
    "ffn_hidden_size": 12288,
    "text_in_dim": 3072,
}

ERNIE_IMAGE = Family(
    name="ernie_image",
    title="ERNIE-Image",
    civitai="Ernie",
    classes=(_MODEL,),
    original=(),
    marks=("ernie_image",),
    published={
        "base": PublishedModel("baidu/ERNIE-Image", {"transformer": _8B}),
        "turbo": PublishedModel("baidu/ERNIE-Image-Turbo", {"transformer": _8B}),
    },
    kinds={"self-attention": r"\.self_attention\."},
    card=Card("text-to-image", ("ernie-image",)),
)
