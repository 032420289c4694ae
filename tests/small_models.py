"""Tiny models of transformers, and LoRAs for them that PEFT itself makes and saves."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import torch

_WIDTH = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
_LLAMA = {**_WIDTH, "num_key_value_heads": 1, "vocab_size": 40, "max_position_embeddings": 32}
_ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CONFIGS: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {**_LLAMA, **_ENDS},
    "Qwen2ForCausalLM": {**_LLAMA, **_ENDS},
    "GemmaForCausalLM": {**_LLAMA, **_ENDS, "head_dim": 8},
    "GPT2LMHeadModel": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 40, **_ENDS},
    "GPT2ForSequenceClassification": {
        "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32, "vocab_size": 40, "num_labels": 3, **_ENDS,
    },
    "BertForSequenceClassification": {**_WIDTH, "vocab_size": 40, "max_position_embeddings": 32},
    "BertModel": {**_WIDTH, "vocab_size": 40, "max_position_embeddings": 32},
    "WhisperForConditionalGeneration": {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "vocab_size": 40,
        "num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 16, "decoder_start_token_id": 1, **_ENDS,
        "begin_suppress_tokens": None,
    },
    "ViTForImageClassification": {**_WIDTH, "image_size": 16, "patch_size": 8},
}  # fmt: skip
_EXPERTS = {**_LLAMA, **_ENDS, "num_hidden_layers": 1, "head_dim": 8, "num_experts_per_tok": 2}
MIXTURES: dict[str, dict[str, Any]] = {  # each with one square parameter of experts, or none
    "Qwen3MoeForCausalLM": {
        **_EXPERTS, "num_hidden_layers": 2, "mlp_only_layers": [1], "moe_intermediate_size": 8, "num_experts": 4,
    },
    "MixtralForCausalLM": {**_EXPERTS, "intermediate_size": 12, "num_local_experts": 4},
    "Qwen3VLMoeForConditionalGeneration": {
        "text_config": {
            **_EXPERTS, "moe_intermediate_size": 6, "num_experts": 4, "num_local_experts": 4,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0},
        },
        "vision_config": {
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
            "deepstack_visual_indexes": [0], "num_position_embeddings": 16,
        },
    },
    "DeepseekV3ForCausalLM": {
        **_EXPERTS, "num_hidden_layers": 2, "first_k_dense_replace": 1, "moe_intermediate_size": 6,
        "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "q_lora_rank": None,
        "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "num_key_value_heads": 2,
    },
    "GptOssForCausalLM": {
        **_EXPERTS, "intermediate_size": 16, "num_local_experts": 4, "layer_types": ["full_attention"],
    },
}  # fmt: skip
TARGETS = {
    "GPT2LMHeadModel": ["c_attn", "c_proj", "c_fc"],
    "GPT2ForSequenceClassification": ["c_attn", "score"],
    "BertForSequenceClassification": ["query", "value", "dense"],
    "BertModel": ["query", "value"],
    "WhisperForConditionalGeneration": ["q_proj", "v_proj", "fc1"],
    "ViTForImageClassification": ["q_proj", "v_proj", "fc1"],
}
_TARGETS = ["q_proj", "v_proj", "down_proj"]


def built(class_name: str, seed: int = 0) -> Any:
    """A model with random numbers, in float32."""
    import transformers

    torch.manual_seed(seed)
    found = getattr(transformers, class_name)
    return found(found.config_class(**(CONFIGS | MIXTURES)[class_name])).eval()


@functools.cache
def shared(class_name: str) -> Any:
    """The model with seed 0, built once per process. Read-only by agreement."""
    return built(class_name)


def save(class_name: str, folder: Path, *, weights: bool = False) -> Path:
    """What `from_pretrained` takes, or the config alone."""
    model = shared(class_name)
    if weights:
        model.save_pretrained(folder)
    else:
        model.config.architectures = [class_name]
        model.config.save_pretrained(folder)
    return folder


def lora(
    class_name: str,
    folder: Path,
    *,
    seed: int,
    rank: int = 4,
    trained_on: str = "",
    change: Any = None,
    **settings: Any,
) -> Path:
    """A LoRA with random numbers that PEFT saves.

    Args:
        class_name: Of the model.
        folder: Where to.
        seed: Of the numbers.
        rank: Of all modules that no `rank_pattern` names.
        trained_on: What its settings say of the base.
        change: Gets the PeftModel before it is saved.
        settings: Of LoraConfig.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank, **{"lora_alpha": 2 * rank, "target_modules": TARGETS.get(class_name, _TARGETS), **settings}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's words on Conv1D
        model = get_peft_model(built(class_name), config)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in model.named_parameters():
            if ".lora_" in name or ".modules_to_save." in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
        model.peft_config["default"].base_model_name_or_path = trained_on
        if change is not None:
            change(model)
        model.save_pretrained(folder)
    return folder


def deltas(class_name: str, folder: Path) -> dict[str, torch.Tensor]:
    """What PEFT adds to each parameter, in float64, by the parameter's name in the model."""
    return {
        name: merged - before
        for (name, merged), before in zip(
            weights_with(class_name, folder).items(), _doubles(class_name).values(), strict=True
        )
    }


def weights_with(class_name: str, folder: Path) -> dict[str, torch.Tensor]:
    """Every parameter of the model with an adapter merged into it by PEFT, in float64."""
    from peft import PeftModel

    model = built(class_name).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        merged = PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
        for module in merged.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, torch.nn.Parameter(parameter.double(), requires_grad=False))
        return dict(merged.merge_and_unload().state_dict())


@functools.cache
def _doubles(class_name: str) -> dict[str, torch.Tensor]:
    return dict(built(class_name).double().state_dict())
