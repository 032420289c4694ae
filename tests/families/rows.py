"""A row for each family: a tiny model of it, and what turns its original checkpoints into diffusers' own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class Row:
    """A family, small.

    Attributes:
        family: Its name in the registry.
        tiny: Config of its denoiser's class, with every structure of the real one and next to no weights.
        class_name: Where it is not the first of the family's classes.
        converter: Function of diffusers.loaders.single_file_utils; empty where diffusers has none.
        sizes: Lines of that function with the sizes of the real model → the same with those of the tiny one.
    """

    family: str
    tiny: Mapping[str, Any]
    class_name: str = ""
    converter: str = ""
    sizes: Mapping[str, str] = field(default_factory=dict)


_WAN: Mapping[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 8,
    "ffn_dim": 32,
    "num_layers": 2,
}
_WAN_IMAGE: Mapping[str, Any] = {"image_dim": 8, "added_kv_proj_dim": 24}
_WAN_CONVERTER = "convert_wan_transformer_to_diffusers"
_LTX2: Mapping[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 16,
    "audio_in_channels": 4,
    "audio_out_channels": 4,
    "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 4,
    "audio_cross_attention_dim": 8,
    "num_layers": 2,
    "caption_channels": 16,
}
_COSMOS: Mapping[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "mlp_ratio": 2,
    "text_embed_dim": 16,
    "adaln_lora_dim": 4,
    "max_size": (4, 8, 8),
}
_COSMOS_CONVERTER = "convert_cosmos_transformer_checkpoint_to_diffusers"
_COGVIDEOX: Mapping[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "in_channels": 4,
    "out_channels": 4,
    "time_embed_dim": 4,
    "text_embed_dim": 8,
    "num_layers": 2,
    "sample_width": 8,
    "sample_height": 8,
    "sample_frames": 5,
    "max_text_seq_length": 4,
}
_SANA: Mapping[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 2,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 8,
    "cross_attention_dim": 16,
    "caption_channels": 8,
    "sample_size": 8,
}
_UNET: Mapping[str, Any] = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 8,
}

_FLUX: Mapping[str, Any] = {
    "in_channels": 4,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "axes_dims_rope": (4, 4, 8),
}
_FLUX_WIDTH: Mapping[str, str] = {"inner_dim = 3072": "inner_dim = 32"}
_SD3: Mapping[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "caption_projection_dim": 32,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 16,
    "pos_embed_max_size": 8,
}
_SD3_CONVERTER = "convert_sd3_transformer_checkpoint_to_diffusers"
_HUNYUAN: Mapping[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "num_refiner_layers": 2,
    "patch_size": 1,
    "text_embed_dim": 16,
    "rope_axes_dim": (4, 4, 8),
}
_HUNYUAN_VIDEO: Mapping[str, Any] = {
    **_HUNYUAN,
    "num_single_layers": 2,
    "patch_size_t": 1,
    "pooled_projection_dim": 24,
}
_HUNYUAN_CONVERTER = "convert_hunyuan_video_transformer_to_diffusers"
_HUNYUAN_WIDTH: Mapping[str, str] = {"hidden_size = 3072": "hidden_size = 32"}
_QWEN: Mapping[str, Any] = {
    "in_channels": 4,
    "out_channels": 1,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "axes_dims_rope": (4, 4, 8),
}

ROWS: tuple[Row, ...] = (
    Row(
        "flux",
        {**_FLUX, "pooled_projection_dim": 24, "guidance_embeds": True},
        converter="convert_flux_transformer_checkpoint_to_diffusers",
        sizes=_FLUX_WIDTH,
    ),
    Row(
        "chroma",
        {**_FLUX, "approximator_num_channels": 8, "approximator_hidden_dim": 16, "approximator_layers": 2},
        converter="convert_chroma_transformer_checkpoint_to_diffusers",
        sizes=_FLUX_WIDTH,
    ),
    Row(
        "flux2",
        {**_FLUX, "timestep_guidance_channels": 8, "axes_dims_rope": (4, 4, 4, 4)},
        converter="convert_flux2_transformer_checkpoint_to_diffusers",
    ),
    Row(
        "flux3",
        {**_FLUX, "cond_in_channels": 6, "timestep_channels": 8, "axes_dims_rope": (4, 4, 4, 4), "flow_map": True},
        converter="convert_flux3_transformer_checkpoint_to_diffusers",
    ),
    Row("sd3", _SD3, converter=_SD3_CONVERTER),
    Row("sd3", {**_SD3, "qk_norm": "rms_norm", "dual_attention_layers": (0,)}, converter=_SD3_CONVERTER),
    Row("hunyuan_video", _HUNYUAN_VIDEO, converter=_HUNYUAN_CONVERTER, sizes=_HUNYUAN_WIDTH),
    Row(
        "hunyuan_video",
        {**_HUNYUAN_VIDEO, "image_condition_type": "token_replace"},
        converter=_HUNYUAN_CONVERTER,
        sizes=_HUNYUAN_WIDTH,
    ),
    Row(
        "framepack",
        {**_HUNYUAN_VIDEO, "has_image_proj": True, "image_proj_dim": 8, "has_clean_x_embedder": True},
        converter=_HUNYUAN_CONVERTER,
        sizes=_HUNYUAN_WIDTH,
    ),
    Row(
        "hunyuan_image",
        {
            **_HUNYUAN,
            "num_single_layers": 2,
            "patch_size": (1, 1),
            "text_embed_2_dim": 8,
            "guidance_embeds": True,
            "use_meanflow": True,
            "rope_axes_dim": (8, 8),
        },
    ),
    Row("hunyuan_video15", {**_HUNYUAN, "text_embed_2_dim": 8, "image_embed_dim": 8, "use_meanflow": True}),
    Row("qwen_image", _QWEN),
    Row("qwen_image", {**_QWEN, "use_additional_t_cond": True, "use_layer3d_rope": True}),
    Row(
        "qwen_image21",
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "context_in_dim": 24,
            "axes_dims_rope": (4, 4, 8),
        },
        converter="convert_qwen_image21_transformer_checkpoint_to_diffusers",
    ),
    Row(
        "z_image",
        {
            "in_channels": 4,
            "dim": 32,
            "n_layers": 2,
            "n_refiner_layers": 1,
            "n_heads": 2,
            "n_kv_heads": 2,
            "cap_feat_dim": 16,
            "axes_dims": (4, 4, 8),
            "axes_lens": (16, 16, 16),
        },
        converter="convert_z_image_transformer_checkpoint_to_diffusers",
    ),
    Row(
        "lumina2",
        {
            "sample_size": 8,
            "in_channels": 4,
            "hidden_size": 24,
            "num_layers": 2,
            "num_refiner_layers": 2,
            "num_attention_heads": 3,
            "num_kv_heads": 1,
            "multiple_of": 8,
            "cap_feat_dim": 16,
            "axes_dim_rope": (4, 2, 2),
            "axes_lens": (16, 16, 16),
        },
        converter="convert_lumina2_to_diffusers",
        sizes={"q_dim = 2304": "q_dim = 24", "v_dim = 768": "v_dim = 8"},
    ),
    Row(
        "auraflow",
        {
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "num_mmdit_layers": 2,
            "num_single_dit_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 16,
            "caption_projection_dim": 32,
            "pos_embed_max_size": 16,
        },
        converter="convert_auraflow_transformer_checkpoint_to_diffusers",
    ),
    Row("longcat", {**_FLUX, "pooled_projection_dim": 24}),
    Row("bria_fibo", {**_FLUX, "text_encoder_dim": 12}),
    Row(
        "bria_fibo2",
        {
            "in_channels": 4,
            "dim": 32,
            "n_layers": 2,
            "n_refiner_layers": 1,
            "n_heads": 2,
            "cap_feat_dim": 16,
            "injection_layer_ids": (1,),
            "perceiver_num_layers": 1,
            "min_num_gist_tokens": 2,
            "max_num_gist_tokens": 4,
            "gist_step": 2,
            "axes_dims": (4, 4, 8),
            "axes_lens": (16, 16, 16),
        },
    ),
    Row("wan", _WAN, converter=_WAN_CONVERTER),
    Row("wan", {**_WAN, **_WAN_IMAGE}, converter=_WAN_CONVERTER),
    Row("wan", {**_WAN, **_WAN_IMAGE, "pos_embed_seq_len": 4}),
    Row("wan_vace", {**_WAN, **_WAN_IMAGE, "vace_layers": (0, 1), "vace_in_channels": 6}, converter=_WAN_CONVERTER),
    Row(
        "wan_animate",
        {
            **_WAN,
            **_WAN_IMAGE,
            "in_channels": 12,
            "latent_channels": 4,
            "motion_encoder_channel_sizes": {str(2**size): 4 for size in range(2, 10)},
            "motion_style_dim": 8,
            "motion_dim": 4,
            "motion_encoder_dim": 4,
            "face_encoder_hidden_dim": 8,
            "face_encoder_num_heads": 2,
            "inject_face_latents_blocks": 2,
        },
        converter=_WAN_CONVERTER,
        # A checkpoint has four axes where diffusers has one.
        sizes={"state_dict[key] = state_dict[key][0, :, 0, 0]": "pass"},
    ),
    Row(
        "wan_animate_2",
        {
            "in_dim": 4,
            "dim": 24,
            "ffn_dim": 16,
            "freq_dim": 8,
            "text_dim": 8,
            "out_dim": 4,
            "num_heads": 2,
            "num_layers": 2,
            "text_len": 4,
        },
        converter="convert_wan_animate_2_transformer_to_diffusers",
    ),
    Row("skyreels_v2", {**_WAN, **_WAN_IMAGE}, converter=_WAN_CONVERTER),
    Row("skyreels_v2", {**_WAN, "inject_sample_info": True}),
    Row("chronoedit", {**_WAN, **_WAN_IMAGE}, converter=_WAN_CONVERTER),
    Row("helios", {**_WAN, "rope_dim": (4, 4, 4)}),
    Row("anyflow", _WAN),
    Row("anyflow", _WAN, class_name="AnyFlowFARTransformer3DModel"),
    Row(
        "ltx",
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "cross_attention_dim": 16,
            "num_layers": 2,
            "caption_channels": 16,
        },
        converter="convert_ltx_transformer_checkpoint_to_diffusers",
    ),
    Row("ltx2", _LTX2, converter="convert_ltx2_transformer_to_diffusers"),
    Row(
        "ltx2",
        {
            **_LTX2,
            "gated_attn": True,
            "cross_attn_mod": True,
            "audio_gated_attn": True,
            "audio_cross_attn_mod": True,
            "use_prompt_embeddings": False,
            "perturbed_attn": True,
            "ff_bias": False,
            "use_keyframes_abs_pos_embedding": True,
        },
    ),
    Row(
        "krea2",
        {
            "in_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 24,
            "timestep_embed_dim": 8,
            "text_hidden_dim": 16,
            "num_text_layers": 2,
            "text_num_attention_heads": 2,
            "text_num_key_value_heads": 2,
            "text_intermediate_size": 24,
            "num_layerwise_text_blocks": 1,
            "num_refiner_text_blocks": 1,
            "axes_dims_rope": (2, 2, 4),
        },
        converter="convert_krea2_transformer_checkpoint_to_diffusers",
    ),
    Row(
        "anima",
        {
            **_COSMOS,
            "in_channels": 16,
            "num_attention_heads": 16,
            "attention_head_dim": 12,
            "extra_pos_embed_type": None,
        },
        converter=_COSMOS_CONVERTER,
    ),
    Row(
        "cosmos",
        _COSMOS,
        converter=_COSMOS_CONVERTER,
        # It looks in the checkpoint for what tells the first Cosmos, when it has taken everything out of it.
        sizes={'if "net.blocks.block1.blocks.0.block.attn.to_q.0.weight" in checkpoint:': "if True:"},
    ),
    Row(
        "cosmos",
        {
            **_COSMOS,
            "extra_pos_embed_type": None,
            "use_crossattn_projection": True,
            "crossattn_proj_in_channels": 8,
            "encoder_hidden_states_channels": 16,
            "img_context_dim_in": 8,
            "img_context_dim_out": 8,
            "img_context_num_tokens": 2,
        },
        converter=_COSMOS_CONVERTER,
    ),
    Row(
        "ideogram4",
        {
            "in_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "adaln_dim": 8,
            "llm_features_dim": 24,
            "mrope_section": (1, 1, 2),
        },
    ),
    Row(
        "minimax_h3",
        {
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "hidden_size": 24,
            "num_layers": 2,
            "num_refiner_layers": 1,
            "ffn_dim": 16,
            "in_channels": 4,
            "audio_in_channels": 4,
            "text_dim": 8,
            "freq_dim": 8,
            "time_embed_hidden_dim": 16,
            "time_embed_dim": 8,
            "rope_freq_dim": 2,
        },
        converter="convert_minimax_h3_transformer_checkpoint_to_diffusers",
    ),
    Row(
        "hidream",
        {
            "patch_size": 2,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 1,
            "num_single_layers": 1,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "caption_channels": (8, 8),
            "text_emb_dim": 8,
            "num_routed_experts": 2,
            "axes_dims_rope": (4, 2, 2),
            "llama_layers": (0, 0),
        },
        converter="convert_hidream_transformer_to_diffusers",
    ),
    Row(
        "kandinsky5",
        {
            "in_visual_dim": 4,
            "in_text_dim": 8,
            "in_text_dim2": 6,
            "time_dim": 8,
            "out_visual_dim": 4,
            "model_dim": 16,
            "ff_dim": 24,
            "num_text_blocks": 1,
            "num_visual_blocks": 2,
            "axes_dims": (2, 2, 4),
            "visual_cond": True,
        },
    ),
    Row("cogvideox", {**_COGVIDEOX, "use_rotary_positional_embeddings": True, "ofs_embed_dim": 4}),
    Row("cogvideox", _COGVIDEOX, class_name="ConsisIDTransformer3DModel"),
    Row(
        "cogview4",
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "text_embed_dim": 8,
            "time_embed_dim": 8,
            "condition_dim": 4,
            "rope_axes_dim": (8, 8),
        },
    ),
    Row(
        "mochi",
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "pooled_projection_dim": 16,
            "in_channels": 4,
            "text_embed_dim": 8,
            "time_embed_dim": 8,
            "max_sequence_length": 4,
        },
        converter="convert_mochi_transformer_checkpoint_to_diffusers",
        sizes={"num_layers = 48": "num_layers = 2"},
    ),
    Row(
        "sana",
        _SANA,
        converter="convert_sana_transformer_to_diffusers",
        # Two buffers of a checkpoint that diffusers makes anew.
        sizes={
            'checkpoint.pop("pos_embed")': "pass",
            'checkpoint.pop("y_embedder.y_embedding")': "pass",
        },
    ),
    Row("sana", {**_SANA, "qk_norm": "rms_norm_across_heads", "guidance_embeds": True}),
    Row("sana_video", _SANA),
    Row(
        "pixart",
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "in_channels": 4,
            "out_channels": 8,
            "num_layers": 2,
            "cross_attention_dim": 16,
            "sample_size": 8,
            "caption_channels": 8,
            "use_additional_conditions": True,
        },
    ),
    Row(
        "ernie_image",
        {
            "hidden_size": 16,
            "num_attention_heads": 2,
            "num_layers": 2,
            "ffn_hidden_size": 24,
            "in_channels": 4,
            "out_channels": 4,
            "text_in_dim": 8,
            "rope_axes_dim": (2, 2, 4),
        },
        converter="convert_ernie_image_transformer_checkpoint_to_diffusers",
    ),
    Row(
        "ace_step",
        {
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "in_channels": 12,
            "audio_acoustic_hidden_dim": 4,
        },
    ),
    Row(
        "rfd4_proteina",
        {
            "nlayers": 2,
            "token_dim": 24,
            "nheads": 2,
            "dim_cond": 16,
            "pair_repr_dim": 16,
            "latent_dim": 4,
            "tri_mult_c": 8,
        },
    ),
    Row(
        "kandinsky3",
        {
            "time_embedding_dim": 8,
            "groups": 2,
            "attention_head_dim": 4,
            "layers_per_block": 1,
            "block_out_channels": (8, 8, 8, 16),
            "cross_attention_dim": 8,
            "encoder_hid_dim": 8,
        },
    ),
    Row(
        "text_to_video",
        {
            **_UNET,
            "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
            "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
            "attention_head_dim": 4,
        },
    ),
    Row(
        "animatediff",
        {
            **_UNET,
            "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
            "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"),
            "num_attention_heads": 2,
            "motion_num_attention_heads": 2,
        },
    ),
    Row(
        "amused",
        {
            "hidden_size": 8,
            "cond_embed_dim": 8,
            "micro_cond_encode_dim": 2,
            "micro_cond_embed_dim": 10,
            "encoder_hidden_size": 8,
            "vocab_size": 12,
            "codebook_size": 8,
            "in_channels": 8,
            "block_out_channels": 8,
            "num_res_blocks": 1,
            "block_num_heads": 1,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "intermediate_size": 8,
        },
    ),
)
