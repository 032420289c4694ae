"""What is said of a LoRA that does not fit: only what helps is advised."""

from dataclasses import replace

import pytest
import torch
from canonical import base_of

from loramerge.adapter import Adapter, LowRank
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
