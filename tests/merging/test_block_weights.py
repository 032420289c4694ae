"""What of a LoRA weighs what, and what is said of the modules that nothing names."""

import pytest
import torch

from loramerge.adapter import Adapter, LowRank
from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.merging.block_weights import unnamed, weighing

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
SAMPLER = "down_blocks.1.downsamplers.0.conv"  # weighs as the attention of its position does
MID = "mid_block.attentions.0.proj_in"
UP = "up_blocks.2.attentions.1.proj_out"
# Nothing of these has an attention beside it.
BEYOND = (
    "conv_in",
    "conv_out",
    "down_blocks.3.resnets.0.conv1",
    "mid_block.resnets.0.conv1",
    "time_embedding.linear_1",
)
TEXT = "text_model.encoder.layers.0.mlp.fc1"
NOTHING = {"down": 0.0, "mid": 0.0, "up": 0.0}


def lora(*modules, text=False):
    pair = LowRank(torch.ones(1, 2), torch.ones(2, 1), 1.0)
    unet = dict.fromkeys(modules or (ATTENTION, SAMPLER, MID, UP, *BEYOND), pair)
    return Adapter({"unet": unet} | ({"text_encoder": {TEXT: pair}} if text else {}))


def weights(mapping, adapter):
    weigh = weighing("a", mapping, architecture("sd15"))
    return {module: weigh(component, module) for component, module, _ in adapter}


def said(mapping, adapter):
    return list(unnamed("a", mapping, architecture("sd15"), adapter))


def test_what_lies_in_no_block_with_attention_has_a_name():
    found = weights({"unet": {**NOTHING, "other": 0.25}}, lora())
    assert {module for module, weight in found.items() if weight == 0.25} == set(BEYOND)
    assert {module for module, weight in found.items() if weight == 0} == {ATTENTION, SAMPLER, MID, UP}


def test_it_keeps_1_where_it_is_not_named_which_is_said():
    assert {weight for module, weight in weights({"unet": NOTHING}, lora()).items() if module in BEYOND} == {1.0}
    (sentence,) = said({"unet": NOTHING}, lora())
    assert sentence == (
        "LoRA a: 5 of 9 modules keep weight 1, because its weight does not name `unet.other` (5 modules: conv_in, "
        "conv_out, down_blocks.3.resnets.0.conv1 and 2 more)"
    )


@pytest.mark.parametrize(
    ("mapping", "keys"),
    [
        ({"unet": 0.5}, "`text_encoder` (1 module)"),
        ({"unet": 0.5, "text_encoder": 1.0}, ""),
        ({"text_encoder": 0.5}, "`unet` (4 modules)"),
        ({"unet": {"mid": 0.5}, "text_encoder": 0.5}, "`unet.down` (2 modules) or `unet.up` (1 module)"),
        ({"unet": {"down": {"block_1": [0.1, 0.2]}, "mid": 1.0, "up": 1.0}, "text_encoder": 0.5}, ""),
        (
            {"unet": {"down": {"block_0": 0.5}, "mid": 1.0, "up": {"block_3": 0.1}}, "text_encoder": 0.5},
            "`unet.down.block_1` (2 modules) or `unet.up.block_2` (1 module)",
        ),
        (0.5, ""),
    ],
)
def test_every_key_that_is_left_out_is_said(mapping, keys):
    adapter = lora(ATTENTION, SAMPLER, MID, UP, text=True)
    sentences = said(mapping, adapter)
    assert [sentence.partition("does not name ")[2] for sentence in sentences] == ([keys] if keys else [])


def test_a_block_without_attention_is_no_block_that_can_be_weighted_by_itself():
    with pytest.raises(MismatchError, match=r"down\.block_3: the base has no attention there") as error:
        weights({"unet": {"down": {"block_3": 0.5}}}, lora())
    assert error.value.hint == "weigh blocks without attention by weight.unet.other"
