"""Wan Animate: Alibaba's names (wan/modules/animate/model_animate.py).

What a checkpoint calls the biases of its motion encoder's convolutions is known; that they have four axes there is not
kept: no LoRA reaches them.
"""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import rules
from loramerge.families.wan import WAN_KINDS, WAN_NAMES

_MODEL = "WanAnimateTransformer3DModel"
_CONVOLUTIONS = 7
_FACE, _THERE = "face_adapter.*.", "face_adapter.fuser_blocks.*."
_MOTION, _NET = "motion_encoder.", "motion_encoder.enc.net_app.convs."


def _residuals() -> dict[str, str]:
    return {
        f"{_NET}{number + 1}.{original}": f"{_MOTION}res_blocks.{number}.{canonical}"
        for number in range(_CONVOLUTIONS)
        for original, canonical in (
            ("conv1.0.weight", "conv1.weight"),
            ("conv1.1.bias", "conv1.act_fn.bias"),
            ("conv2.1.weight", "conv2.weight"),
            ("conv2.2.bias", "conv2.act_fn.bias"),
            ("skip.1.weight", "conv_skip.weight"),
        )
    }


WAN_ANIMATE = Family(
    name="wan_animate",
    title="Wan Animate",
    classes=(_MODEL,),
    original=rules(
        {
            **WAN_NAMES,
            f"{_THERE}linear1_q": f"{_FACE}to_q",
            f"{_THERE}linear1_kv": (f"{_FACE}to_k", f"{_FACE}to_v"),
            f"{_THERE}linear2": f"{_FACE}to_out",
            f"{_THERE}q_norm": f"{_FACE}norm_q",
            f"{_THERE}k_norm": f"{_FACE}norm_k",
            **{f"face_encoder.{name}.conv": f"face_encoder.{name}" for name in ("conv1_local", "conv2", "conv3")},
            f"{_MOTION}dec.direction.weight": f"{_MOTION}motion_synthesis_weight",
            f"{_MOTION}enc.fc": f"{_MOTION}motion_network",
            f"{_NET}0.0.weight": f"{_MOTION}conv_in.weight",
            f"{_NET}0.1.bias": f"{_MOTION}conv_in.act_fn.bias",
            f"{_NET}{_CONVOLUTIONS + 1}.weight": f"{_MOTION}conv_out.weight",
            **_residuals(),
        }
    ),
    published={
        "14b": PublishedModel(
            "Wan-AI/Wan2.2-Animate-14B-Diffusers",
            {"transformer": {"_class_name": _MODEL, "added_kv_proj_dim": 5120}},
            "WanAnimatePipeline",
        )
    },
    kinds={**WAN_KINDS, "cross-attention": r"(^face_adapter\.|\.attn2\.)"},
    card=Card("image-to-video", ("wan",)),
)
