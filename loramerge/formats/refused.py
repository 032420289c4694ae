"""What is never merged, because no format reads it or because guessing would be wrong."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from loramerge.errors import SourceError
from loramerge.messages import any_of


class Refusal(NamedTuple):
    """What is told by its keys and never merged.

    Attributes:
        pattern: Found in each of its keys.
        what: Its name.
        why: It can't be merged.
        hint: What to do about it.
    """

    pattern: str
    what: str
    why: str
    hint: str = "use a plain LoRA, or have the tool that trained it convert it into one"


LORA = "LORA"
_KINDS = (LORA, "LOHA", "LOKR")
"""The types of adapters of PEFT's that are read."""
_COMPONENT = r"(lora_)?(unet|te[12]?|text_encoder(_2)?)[._]"
_FIRST_LAYERS = r"((en|de)coder\.)?conv_in|time_embedding|(text_model\.)?embeddings"  # of a component of a pipeline
_NAME_ONE = "name a LoRA"
REFUSALS = (
    Refusal(r"\.(oft_|boft_|rescale$)", "OFT", "it multiplies the base's weights instead of adding to them"),
    Refusal(r"(?<!lora_[AB])\.(a1|a2|b1|b2|bm1|bm2)\.weight$", "GLoRA", "a part of it multiplies the base's weights"),
    Refusal(r"\.vera_(lambda|[AB])", "VeRA", "its factors are random numbers that all modules share",
            "have PEFT make a LoRA of it: convert_to_lora"),
    Refusal(r"xlora_(classifier|depth|scal)|\.xlora", "X-LoRA", "it mixes several LoRAs anew for every token",
            "merge the LoRAs that it mixes"),
    Refusal(r"\.(on_input|ia3_l)(\.|$)", "IA3", "it multiplies the base's weights instead of adding to them"),
    Refusal(r"\.set_weight$", "weights that take the place of the base's own (set_weight)",
            "they are no difference that could be added to others",
            "subtract the base's own weights from them and save that as .diff, or leave the LoRA out"),
    Refusal(r"lora_embedding_[AB]", "an embedding LoRA", "only linear and convolution layers are merged"),
    Refusal(r"^((double|single)_blocks\.\d+\..+|img_in)\.lora_B\.bias$", "a control LoRA of Black Forest Labs",
            "beside its factors it has biases, norms in place of the base's, and a wider `img_in`",
            "load it beside the merge, with diffusers' FluxControlPipeline.load_lora_weights"),
    Refusal(r"lora_([AB]|down|up)(\.\w+)?\.bias$", "a LoRA with biases (lora_bias)",
            "PEFT loses the biases in a merge"),
    Refusal(r"\.reshape_weight$", "a LoRA that gives weights of the base another shape (reshape_weight)",
            "what others add to these weights does not fit them any more", "load it beside the merge"),
    Refusal(r"\.original_module\.", "the base's own weights beside those of a trained module (original_module)",
            "the adapter was not saved by PEFT", "save it with PEFT's save_pretrained"),
    Refusal(r"trainable_tokens_", "trained tokens (trainable_token_indices)",
            "they are rows of an embedding, and only linear and convolution layers are merged",
            "have PEFT save the whole embedding: modules_to_save"),
    Refusal(r"^(emb_params|clip_[lg])$|^(?!bundle_emb\.).*string_to_param", "a textual inversion embedding",
            "it is no LoRA", _NAME_ONE),
    Refusal(rf"^{_COMPONENT}{_COMPONENT}", "names with a doubled prefix",
            "a converter put a second one before names that had one",
            "use the file that it was converted from"),
    Refusal(rf"^(model\.diffusion_model|first_stage_model|cond_stage_model|{_FIRST_LAYERS})(?!.*(lora|hada_|lokr_|dora_scale|magnitude|\.alpha$|\.diff(_[bm])?$|\.[wb]_norm$))\.",
            "a whole checkpoint", "it is no LoRA", _NAME_ONE),
    Refusal(r"\.alora_|lora_variant", "an activated LoRA", "it acts on some tokens only"),
)  # fmt: skip
"""Every kind of file that is refused by its keys."""

# Settings that say how the LoRA was trained or where it belongs, not what its delta is.
_HARMLESS_CONFIG = frozenset(
    (
        "alpha",
        "alpha_pattern",
        "auto_mapping",
        "base_model_class",
        "base_model_name_or_path",
        "decompose_both",
        "decompose_factor",
        "ensure_weight_tying",
        "ephemeral_gpu_offload",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",  # weights are stored transposed; PEFT unsets it where they are not
        "inference_mode",
        "init_lora_weights",
        "init_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "module_dropout",
        "parent_library",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_dropout",
        "rank_dropout_scale",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        "target_parameters",  # what their pairs belong to is told by their keys and the base
        "task_type",
        "use_dora",
        "use_effective_conv2d",
        "use_rslora",
    )
)
_ADVICE = {
    "lora_bias": "train it with lora_bias: false; PEFT loses the biases in a merge",
    "trainable_token_indices": "have PEFT save the whole embedding: modules_to_save",
}
_HARMLESS_INIT = frozenset(map(str, (True, False, None))) | {"gaussian", "orthogonal", "eva"}


def refuse_keys(reference: str, keys: Iterable[str]) -> None:
    """Raise if any tensor belongs to something that is not a plain LoRA.

    Raises:
        SourceError: Names what it is, the first such key, and why it can't be merged.
    """
    keys = tuple(keys)
    for refusal in REFUSALS:
        found = [key for key in keys if re.search(refusal.pattern, key)]
        if found:
            raise SourceError(
                f"{reference} holds {refusal.what} ({len(found)} of {len(keys)} tensors, first {found[0]}): "
                f"{refusal.why}",
                hint=refusal.hint,
            )


def refuse_config(reference: str, config: Mapping[str, Any]) -> None:
    """Raise if the settings of a PEFT adapter, as a mapping, ask for more than a delta that is added.

    Raises:
        SourceError: Names the setting and its value.
    """
    kind = config.get("peft_type", LORA)
    if kind not in _KINDS:
        raise SourceError(
            f"{reference} is of peft_type {kind}; only {any_of(_KINDS)} adapters can be merged",
            hint="PEFT's convert_to_lora makes a LoRA of adapters of most other types",
        )
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
                hint=_ADVICE.get(key, "merge a LoRA trained without it"),
            )
