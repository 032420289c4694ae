"""What is said of a LoRA that does not fit: only what helps is advised."""

from dataclasses import replace

import pytest
import small_models
import torch
from canonical import base_of, read
from safetensors.torch import save_file

from loramerge.adapter import Adapter, LowRank
from loramerge.bases.base import read_base
from loramerge.bases.fit import fit
from loramerge.bases.published import architecture
from loramerge.errors import MismatchError

KNOWN = "down_blocks.0.attentions.0.proj_in"
PAIR = LowRank(torch.ones(2, 16, 1, 1), torch.ones(16, 2, 1, 1), 1.0)
ADVICE = "a recipe does with `unmatched: skip`"


def refused(components, *, skip=False):
    with pytest.raises(MismatchError) as error:
        fit("ink", Adapter(components), base_of("sd15"), skip=skip)
    return error.value


def test_what_does_not_fit_beside_what_does_can_be_skipped():
    assert ADVICE in refused({"unet": {KNOWN: PAIR, "down_blocks.9.x": PAIR}}).hint
    fitted, left_out = fit("ink", Adapter({"unet": {KNOWN: PAIR, "x": PAIR}}), base_of("sd15"), skip=True)
    assert (len(fitted), len(left_out)) == (1, 1)


@pytest.mark.parametrize("skip", [True, False])
def test_skipping_is_not_advised_where_nothing_would_be_left(skip):
    assert "skip" not in refused({"unet": {"down_blocks.9.x": PAIR}}, skip=skip).hint


@pytest.mark.parametrize("skip", [True, False])
def test_a_lora_of_another_family_is_called_by_its_name_and_no_part_of_it_is_taken(skip):
    error = refused({"unknown": {"lora_unet_double_blocks_0_img_attn_qkv": PAIR}, "unet": {KNOWN: PAIR}}, skip=skip)
    assert "unknown.lora_unet_double_blocks_0_img_attn_qkv is 16×16×1×1, the base has no such module" in error.message
    assert "It looks like a LoRA for FLUX.1, FLUX.2, Chroma or HunyuanVideo, the base is Stable Diff" in error.message
    assert error.hint.startswith("choose the base that the LoRA was trained on, with --base")


def test_a_pair_for_an_embedding_is_not_called_one_of_another_base():
    error = refused({"text_encoder": {"text_model.embeddings.token_embedding": PAIR}})
    assert "text_encoder.text_model.embeddings.token_embedding is no linear or convolution layer, and" in error.message


def test_a_text_encoder_that_a_base_in_one_file_lacks_makes_no_other_family_of_it():
    base = architecture("sd15")
    alone = replace(base, components={"unet": base.components["unet"]})
    unet, text = base.components["unet"].modules, base.components["text_encoder"].modules
    pairs = {name: LowRank(torch.ones(1, *shape[1:]), torch.ones(shape[0], 1), 1.0) for name, shape in text.items()}
    attention = [name for name, shape in unet.items() if name.endswith("to_q") and len(shape) == 2]
    queries = {name: LowRank(torch.ones(1, unet[name][1]), torch.ones(unet[name][0], 1), 1.0) for name in attention}
    adapter = Adapter({"unet": queries, "text_encoder": pairs})
    fitted, left_out = fit("ink", adapter, alone, skip=True)
    assert (len(fitted), len(left_out)) == (len(queries), len(pairs))
    with pytest.raises(MismatchError) as caught:
        fit("ink", adapter, alone, skip=False)
    assert "looks like" not in caught.value.message
    assert ADVICE in caught.value.hint


def test_experts_that_the_base_has_in_one_tensor_are_not_called_those_of_another_base(tmp_path):
    """Of gpt-oss there are no names of layers for each expert, as PEFT saved them with transformers 4 of others."""
    small_models.save("GptOssForCausalLM", tmp_path)
    halves = {}
    shapes = {"self_attn.q_proj": (16, 16)}
    shapes |= {f"mlp.experts.{expert}.{name}": (8, 16) for expert in range(4) for name in ("gate_proj", "up_proj")}
    for name, (rows, columns) in shapes.items():
        key = f"base_model.model.model.layers.0.{name}"
        halves |= {f"{key}.lora_A.weight": torch.ones(2, columns), f"{key}.lora_B.weight": torch.ones(rows, 2)}
    (tmp_path / "ink").mkdir()
    save_file(halves, tmp_path / "ink" / "adapter_model.safetensors")
    (tmp_path / "ink" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    base = read_base("moe", tmp_path)
    adapter = read(tmp_path / "ink", base)
    with pytest.raises(MismatchError) as caught:
        fit("ink", adapter, base, skip=False)
    assert (
        "8 of 9 modules do not fit moe: model.model.layers.0.mlp.experts.0.gate_proj is a layer of one expert, and "
        in (caught.value.message)
    )
    assert caught.value.hint == f"leave these modules out: {ADVICE} at the LoRA"
    fitted, _ = fit("ink", adapter, base, skip=True)
    assert [place[:2] for place in fitted] == [("model", "model.layers.0.self_attn.q_proj")]
