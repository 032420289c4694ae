"""Stable Diffusion 3 and 3.5: Stability AI's names (Stability-AI/sd3.5, mmditx.py)."""

from loramerge.families.clip import CLIP_L, OPENCLIP_G
from loramerge.families.family import Card, Config, Family, PublishedModel, Specification, TextEncoder
from loramerge.families.layout import ADDED_QKV, QKV, Rule, each, rules
from loramerge.families.t5 import T5_XXL

_MODEL = "SD3Transformer2DModel"
_LAYERS = 18
"""What the class takes a model to have whose config does not say."""
_TIME = "time_text_embed."
_HERE, _PICTURE, _TEXT = "transformer_blocks.*", "joint_blocks.*.x_block", "joint_blocks.*.context_block"
_FINAL = "final_layer.adaLN_modulation.1"


def _original(config: Config) -> tuple[Rule, ...]:
    """The last block puts out no text: what its adaLN makes of it is (shift, scale) as in the final layer."""
    last = int(config.get("num_layers", _LAYERS)) - 1
    last_text = f"joint_blocks.{last}.context_block.adaLN_modulation.1"
    return rules(
        {
            "pos_embed": "pos_embed.pos_embed",
            "x_embedder.proj": "pos_embed.proj",
            "t_embedder.mlp.0": f"{_TIME}timestep_embedder.linear_1",
            "t_embedder.mlp.2": f"{_TIME}timestep_embedder.linear_2",
            "y_embedder.mlp.0": f"{_TIME}text_embedder.linear_1",
            "y_embedder.mlp.2": f"{_TIME}text_embedder.linear_2",
            **{
                f"{_PICTURE}.{name}{there}": canonical
                for name in ("attn", "attn2")
                for there, canonical in (
                    (".qkv", each(f"{_HERE}.{name}.", QKV)),
                    (".proj", f"{_HERE}.{name}.to_out.0"),
                    (".ln_q", f"{_HERE}.{name}.norm_q"),
                    (".ln_k", f"{_HERE}.{name}.norm_k"),
                )
            },
            f"{_PICTURE}.mlp.fc1": f"{_HERE}.ff.net.0.proj",
            f"{_PICTURE}.mlp.fc2": f"{_HERE}.ff.net.2",
            f"{_PICTURE}.adaLN_modulation.1": f"{_HERE}.norm1.linear",
            f"{_TEXT}.attn.qkv": each(f"{_HERE}.attn.", ADDED_QKV),
            f"{_TEXT}.attn.proj": f"{_HERE}.attn.to_add_out",
            f"{_TEXT}.attn.ln_q": f"{_HERE}.attn.norm_added_q",
            f"{_TEXT}.attn.ln_k": f"{_HERE}.attn.norm_added_k",
            f"{_TEXT}.mlp.fc1": f"{_HERE}.ff_context.net.0.proj",
            f"{_TEXT}.mlp.fc2": f"{_HERE}.ff_context.net.2",
            f"{_TEXT}.adaLN_modulation.1": f"{_HERE}.norm1_context.linear",
            last_text: f"transformer_blocks.{last}.norm1_context.linear",
            "final_layer.linear": "proj_out",
            _FINAL: "norm_out.linear",
        },
        swapped=[last_text, _FINAL],
    )


def _sd3_edition(repository: str, layers: int, **config: object) -> PublishedModel:
    """An edition: as many heads as layers, and 64 numbers in each head."""
    width = {"num_layers": layers, "num_attention_heads": layers, "caption_projection_dim": layers * 64}
    return PublishedModel(
        f"stabilityai/stable-diffusion-{repository}",
        {
            "transformer": {"_class_name": _MODEL, **width, **config},
            "text_encoder": {**CLIP_L, "architectures": ["CLIPTextModelWithProjection"]},
            "text_encoder_2": OPENCLIP_G,
            "text_encoder_3": T5_XXL,
        },
    )


SD3 = Family(
    name="sd3",
    title="Stable Diffusion 3",
    civitai="SD 3.5",
    classes=(_MODEL,),
    original=_original,
    diffusers_in_comfyui=True,
    loadable=("text_encoder", "text_encoder_2"),
    text_encoders={
        "text_encoder": TextEncoder(("lora_te1_",), "clip_l"),
        "text_encoder_2": TextEncoder(("lora_te2_",), "clip_g"),
        "text_encoder_3": TextEncoder(("lora_te3_",), "t5xxl"),
    },
    marks=("stable-diffusion-3", "stable-diffusion-v3", "sd3", "sd_3"),
    published={
        "medium": _sd3_edition("3-medium-diffusers", 24, pos_embed_max_size=192),
        "3.5-medium": _sd3_edition(
            "3.5-medium", 24, pos_embed_max_size=384, qk_norm="rms_norm", dual_attention_layers=tuple(range(13))
        ),
        "3.5-large": _sd3_edition("3.5-large", 38, pos_embed_max_size=192, qk_norm="rms_norm"),
    },
    kinds={
        "self-attention": r"\.attn2?\.",
        "feed-forward": r"\.ff_context\.",
        "modulation": r"\.(norm1|norm1_context)\.linear$|^norm_out\.linear$",
    },
    specification=Specification("stable-diffusion-3", "sd3", "1024x1024", "diffusers"),
    card=Card("text-to-image", ("stable-diffusion-3",)),
)
