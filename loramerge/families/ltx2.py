"""LTX-2: Lightricks' names (ltx_core/model/transformer/model.py), and those of the connectors of its text encoder."""

from loramerge.families.family import Card, Family, PublishedModel
from loramerge.families.layout import rules

_MODEL = "LTX2VideoTransformer3DModel"
_BLOCK = "transformer_blocks.*."
_ATTENTIONS = ("attn1", "attn2", "audio_attn1", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn")
_GATED = {
    "_class_name": _MODEL,
    "gated_attn": True,
    "cross_attn_mod": True,
    "audio_gated_attn": True,
    "audio_cross_attn_mod": True,
    "use_prompt_embeddings": False,
    "perturbed_attn": True,
}

LTX2 = Family(
    name="ltx2",
    title="LTX-2",
    civitai="LTXV2",
    classes=(_MODEL,),
    original=rules(
        {
            "patchify_proj": "proj_in",
            "audio_patchify_proj": "audio_proj_in",
            "adaln_single": "time_embed",
            "audio_adaln_single": "audio_time_embed",
            "prompt_adaln_single": "prompt_adaln",
            "audio_prompt_adaln_single": "audio_prompt_adaln",
            "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
            "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
            "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
            "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
            f"{_BLOCK}scale_shift_table_a2v_ca_video": f"{_BLOCK}video_a2v_cross_attn_scale_shift_table",
            f"{_BLOCK}scale_shift_table_a2v_ca_audio": f"{_BLOCK}audio_a2v_cross_attn_scale_shift_table",
            **{
                f"{_BLOCK}{attention}.{each}_norm": f"{_BLOCK}{attention}.norm_{each}"
                for attention in _ATTENTIONS
                for each in "qk"
            },
        }
    ),
    loadable=("connectors",),
    components={
        "text_embedding_projection.aggregate_embed": "connectors.text_proj_in",
        "text_embedding_projection.video_aggregate_embed": "connectors.video_text_proj_in",
        "text_embedding_projection.audio_aggregate_embed": "connectors.audio_text_proj_in",
        "video_embeddings_connector.transformer_1d_blocks": "connectors.video_connector.transformer_blocks",
        "audio_embeddings_connector.transformer_1d_blocks": "connectors.audio_connector.transformer_blocks",
    },
    marks=("ltx2",),
    published={
        "2.0": PublishedModel("Lightricks/LTX-2", {"transformer": {"_class_name": _MODEL}}),
        "2.3": PublishedModel("diffusers/LTX-2.3-Diffusers", {"transformer": _GATED}),
        "2.5": PublishedModel(
            "Lightricks/LTX-2.5-Diffusers",
            {"transformer": {**_GATED, "ff_bias": False, "use_keyframes_abs_pos_embedding": True}},
        ),
    },
    kinds={
        "self-attention": r"\.(audio_)?attn1\.",
        "cross-attention": r"\.((audio_)?attn2|audio_to_video_attn|video_to_audio_attn)\.",
        "feed-forward": r"\.(audio_)?ff\.",
    },
    card=Card("text-to-video", ("ltx-2",)),
)
