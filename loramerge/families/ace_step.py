"""ACE-Step 1.5: ACE Studio's names (acestep/models/base/modeling_acestep_v15_base.py).

Checkpoints and ComfyUI have them behind `decoder.`, ACE-Step's own LoRAs leave it out.
"""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import rules

_MODEL = "AceStepTransformer1DModel"
_LAYERS = (
    ("q_proj", "to_q"),
    ("k_proj", "to_k"),
    ("v_proj", "to_v"),
    ("o_proj", "to_out.0"),
    ("q_norm", "norm_q"),
    ("k_norm", "norm_k"),
)

ACE_STEP = Family(
    name="ace_step",
    title="ACE-Step 1.5",
    civitai="ACE Audio",
    classes=(_MODEL,),
    original=rules(
        {
            "decoder.layers": "layers",
            **{f"decoder.{name}": name for name in ("time_embed", "time_embed_r", "condition_embedder", "norm_out")},
            "decoder.scale_shift_table": "scale_shift_table",
            "decoder.proj_in.1": "proj_in_conv",
            "decoder.proj_out.1": "proj_out_conv",
            **{
                f"decoder.layers.*.{attention}.{original}": f"layers.*.{attention}.{canonical}"
                for attention in ("self_attn", "cross_attn")
                for original, canonical in _LAYERS
            },
        }
    ),
    wrapper="decoder.",
    marks=("ace_step",),
    published={"base": PublishedModel("ACE-Step/acestep-v15-base", {"transformer": {"_class_name": _MODEL}})},
    kinds={"cross-attention": r"\.cross_attn\."},
    card=Card("text-to-audio", ("ace-step",)),
)
