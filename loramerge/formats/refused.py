"""What is never merged, because a low-rank pair can't hold it or because guessing would be wrong."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from loramerge.errors import SourceError

_FORBIDDEN_KEYS = (
    (r"dora_scale|lora_magnitude_vector", "DoRA", "its magnitude depends on the base's weights"),
    (r"\.hada_", "LoHa", "a Hadamard product of two pairs is no low-rank pair"),
    (r"\.lokr_", "LoKr", "a Kronecker product is no low-rank pair"),
    (r"\.lora_mid\.", "a Tucker-decomposed convolution (LoCon with lora_mid)", "it has three factors instead of two"),
    (r"\.(oft_|boft_|rescale$)", "OFT", "it multiplies the base's weights instead of adding to them"),
    (r"\.on_input$", "IA3", "it multiplies the base's weights instead of adding to them"),
    (r"\.(diff|diff_b|set_weight)$", "full-weight differences", "they are dense, so they are no low-rank pair"),
    (r"\.[wb]_norm$", "trained norm layers", "they are no low-rank pair"),
    (r"lora_embedding_[AB]", "an embedding LoRA", "only linear and convolution layers are merged"),
    (r"lora_([AB]|down|up)(\.\w+)?\.bias$", "a LoRA with biases (lora_bias)", "PEFT loses the biases in a merge"),
    (r"modules_to_save", "fully trained modules (modules_to_save)", "PEFT can't merge them"),
    (r"^bundle_emb\.|^emb_params$|string_to_param", "a textual inversion embedding", "it is no LoRA"),
    (r"^(model\.diffusion_model|first_stage_model|cond_stage_model)\.", "a whole checkpoint", "it is no LoRA"),
    (r"^(transformer|lora_transformer|lycoris|lora_prior|prior)[._]", "a LoRA of another model family",
     "bases of Stable Diffusion 1.5, 2.x and XL are supported"),
    (r"\.alora_|lora_variant", "an activated LoRA", "it acts on some tokens only"),
)  # fmt: skip

# Settings that say how the LoRA was trained or where it belongs, not what its delta is.
_HARMLESS_CONFIG = frozenset(
    (
        "alpha_pattern",
        "auto_mapping",
        "base_model_class",
        "base_model_name_or_path",
        "ensure_weight_tying",
        "ephemeral_gpu_offload",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "parent_library",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
        "use_rslora",
    )
)
_HARMLESS_INIT = frozenset(map(str, (True, False, None))) | {"gaussian", "orthogonal", "eva"}


def refuse_keys(reference: str, keys: Iterable[str]) -> None:
    """Raise if any tensor belongs to something that is not a plain LoRA.

    Raises:
        SourceError: Names what it is, the first such key, and why it can't be merged.
    """
    keys = tuple(keys)
    for pattern, what, why in _FORBIDDEN_KEYS:
        found = [key for key in keys if re.search(pattern, key)]
        if found:
            raise SourceError(
                f"{reference} holds {what} ({len(found)} of {len(keys)} tensors, first {found[0]}): {why}",
                hint="use a plain LoRA, or have the tool that trained it convert it into one",
            )


def refuse_config(reference: str, config: Mapping[str, Any]) -> None:
    """Raise if a PEFT LoraConfig, as a mapping, asks for more than `scale · up @ down`.

    Raises:
        SourceError: Names the setting and its value.
    """
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise SourceError(f"{reference} is of peft_type {kind}; only LORA adapters can be merged")
    for key, value in sorted(config.items()):
        if key == "init_lora_weights" and str(value) not in _HARMLESS_INIT:
            raise SourceError(
                f"{reference} was initialised with {value}, which changes the base's weights as well",
                hint="convert it to a plain LoRA with PEFT's path_initial_model_for_weight_conversion",
            )
        if key == "bias" and value != "none":
            raise SourceError(f'{reference} has bias="{value}": trained biases are no low-rank pair')
        if key not in _HARMLESS_CONFIG | {"bias"} and value not in (None, False, "", 0) and value not in ([], {}, ()):
            raise SourceError(
                f"{reference} sets {key} to {str(value)[:80]}, which is not plain LoRA",
                hint="merge a LoRA trained without it",
            )
